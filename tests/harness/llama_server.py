#!/usr/bin/env python3
"""llama.cpp's own HTTP server, from the wheel `xllamacpp`, on a port of its own: a real server for tests.

Prints one line, `listening on http://127.0.0.1:PORT`, when a model is in memory, and then serves until it is killed, or, with
--until-stdin-closes, until whoever started it is gone, however it went. llama.cpp's log goes to standard error.
"""

import argparse
import os
import sys
import threading
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="weights, a GGUF file")
    parser.add_argument("--mmproj", help="picture projector of the model; without it the server sees no pictures")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--parallel", type=int, default=1, help="slots: requests answered at a time")
    parser.add_argument("--context", type=int, default=4096, help="tokens of each slot")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    parser.add_argument("--metrics", action="store_true", help="answer /metrics")
    parser.add_argument("--api-key", help="refuse who does not show it")
    parser.add_argument("--alias", help="the model's name; its path without it")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    return parser.parse_args()


def parameters(asked):
    import xllamacpp

    found = xllamacpp.CommonParams()
    found.model.path = asked.model
    if asked.mmproj:
        found.mmproj.path = asked.mmproj
    found.hostnames = ["127.0.0.1"]
    found.port = asked.port
    found.n_parallel = asked.parallel
    found.n_ctx = asked.context * asked.parallel
    found.cpuparams.n_threads = asked.threads
    found.cpuparams_batch.n_threads = asked.threads
    found.endpoint_metrics = asked.metrics
    if asked.api_key:
        found.api_keys = [asked.api_key]
    if asked.alias:
        found.model_alias = {asked.alias}
    return xllamacpp, found


def leave_with_parent():
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main():
    asked = arguments()
    if asked.until_stdin_closes:
        threading.Thread(target=leave_with_parent, daemon=True).start()
    xllamacpp, wanted = parameters(asked)
    server = xllamacpp.Server(wanted)
    print(f"listening on {server.listening_address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
