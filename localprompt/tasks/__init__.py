"""Tasks: what a prompt is for, on which data, and how an answer is judged. Level 3."""

from localprompt.tasks.task import Task, load_task
from localprompt.tasks.template import Layout

__all__ = ["Layout", "Task", "load_task"]
