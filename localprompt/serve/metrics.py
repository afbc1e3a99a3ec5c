"""`/metrics`: what the server has done, in Prometheus's text format. Level 9."""

from __future__ import annotations

from collections import Counter

from localprompt.serve.service import Service


def exposition(service: Service, requests: Counter[tuple[str, int]]) -> str:
    """Return the numbers as text, given how many requests each (path, status) had."""
    stats, counts = service.engine.stats, service.dispatcher.counts
    lines = ["# HELP localprompt_requests_total Requests answered.", "# TYPE localprompt_requests_total counter"]
    lines += [
        f'localprompt_requests_total{{path="{path}",status="{status}"}} {n}'
        for (path, status), n in sorted(requests.items())
    ]
    for name, what, value in (
        ("tokens_requested_total", "Tokens that one request at a time would decode.", stats.tokens_requested),
        ("tokens_decoded_total", "Tokens that went through the model.", stats.tokens_decoded),
        ("decode_calls_total", "Decode calls.", stats.decode_calls),
        ("waves_total", "Waves of prompts scored together.", counts.waves),
        ("wave_items_total", "Prompts in these waves.", counts.wave_items),
        ("completions_total", "Completions that ended, not tokens drawn where a prompt was read.", counts.completions),
        ("completions_cancelled_total", "Completions that nobody awaited any more.", counts.cancelled),
        ("engine_deaths_total", "Times that the engine died under completions or of one request.", counts.deaths),
        ("waiting", "Prompts that wait for the engine.", service.dispatcher.waiting),
        ("completions_underway", "Completions being written.", service.dispatcher.underway),
    ):
        full, kind = f"localprompt_{name}", "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {full} {what}", f"# TYPE {full} {kind}", f"{full} {value}"]
    return "\n".join(lines) + "\n"
