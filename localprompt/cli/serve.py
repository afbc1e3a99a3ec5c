"""`localprompt serve`: a model behind the OpenAI interface. Level 10."""

from __future__ import annotations

from typing import Any

import click

from localprompt.cli.options import debug_option, engine_option
from localprompt.cli.streams import say


@click.command()
@click.option("--model", required=True, help="A card's name, a GGUF file, ollama:NAME, hf:REPO.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; another needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8712, show_default=True, help="0: any that is free.")
@click.option("--name", help="What requests call the model; by default the name it was loaded by.")
@click.option(
    "--api-key", envvar="LOCALPROMPT_API_KEY", default="", help="What each request must bring. Or $LOCALPROMPT_API_KEY."
)
@click.option("--max-body", type=click.IntRange(1), default=8 << 20, show_default=True, help="Bytes of a request.")
@click.option("--max-waiting", type=click.IntRange(1), default=4096, show_default=True, help="Prompts that may wait.")
@click.option("--max-seconds", type=float, default=600.0, show_default=True, help="Of one request.")
@click.option("--add-bos", is_flag=True, help="Put BOS before token ids that have none, if the model wants it.")
@engine_option
@debug_option
def serve(
    *,
    model: str,
    host: str,
    port: int,
    name: str | None,
    api_key: str,
    max_body: int,
    max_waiting: int,
    max_seconds: float,
    add_bos: bool,
    engine: dict[str, Any],
) -> None:
    """Answer requests in OpenAI's form, with the log-probabilities of prompts too, until Ctrl-C.

    Needs the extra `localprompt[serve]`.
    """
    from localprompt.errors import ConfigError  # noqa: PLC0415 - `--help` must start fast

    try:
        from localprompt.serve.running import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
            raise
        raise ConfigError(f"serving needs the package {error.name}", "pip install 'localprompt[serve]'") from None
    from localprompt.lm.local import load_model  # noqa: PLC0415
    from localprompt.lm.server import LOOPBACK  # noqa: PLC0415
    from localprompt.serve.service import Limits  # noqa: PLC0415

    if not max_seconds > 0:
        raise ConfigError(f"--max-seconds is {max_seconds}", "give a number above 0")
    if host not in LOOPBACK and not api_key:
        raise ConfigError(f"whoever reaches {host} could use the model", "give --api-key, or leave --host out")
    with load_model(model, **engine) as loaded:
        loaded.name = name or loaded.name
        limits = Limits(max_body, max_waiting, max_seconds, add_bos)
        run(loaded, (host, port), limits, api_key, lambda url: say(f"{loaded.name} is served at {url}"))
