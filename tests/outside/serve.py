"""A llama.cpp server for one GGUF, of the xllamacpp wheel; prints its address, ends with its standard input.

python serve.py MODEL.gguf
"""

from __future__ import annotations

import sys

import xllamacpp


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.port = 4096, 1, 0, 0
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads, threads.poll = 1, 0  # threads that spin while they wait take the machine from others
    params.warmup, params.cache_ram_mib = False, 0
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
