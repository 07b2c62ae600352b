#!/usr/bin/env python3
"""Carries out the steps of a Dockerfile as plain commands, where there is no container engine.

    tests/package/throwaway.sh . python3 /input/tests/package/image.py /input /input/config/docker/Dockerfile TARGET

In a throwaway copy of this machine, for it writes where the Dockerfile says, and every stage into the same place. What it
cannot show: that a base image is there and what is in it. Ends by running the target's entry point, with its user,
environment and directory, and the argument --version; then the shell commands in SG_THEN, if there are some.

With SG_PROGRAM set, a program that is there is taken instead of compiling one: then `cargo build` only checks that it is
asked for the right thing and that its context is complete.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as base images have it
CARGO = """#!/bin/sh
set -e
case "$*" in
    "build --locked --profile dist --bin service-gateway") ;;
    *) echo "not expected: cargo $*" >&2 && exit 1 ;;
esac
"$SG_CARGO" metadata --locked --offline --no-deps --format-version 1 >/dev/null
install -D "$SG_PROGRAM" target/dist/service-gateway
"""


def instructions(dockerfile):
    """Gives (instruction, rest) for each, with its continued lines in one."""
    with open(dockerfile, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if not re.match(r"\s*(#|$)", line)]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in text.splitlines():
        name, _, rest = line.strip().partition(" ")
        yield name.upper(), rest.strip()


def stages(dockerfile):
    found = {}
    for name, rest in instructions(dockerfile):
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            assert re.search(r":[\w.-]+$", base) and not base.endswith(":latest"), f"{base}: which version?"
            stage = found[alias] = []
        else:
            stage.append((name, rest))
    return found


def kept(context, dockerfile):
    """The files of the context that its .dockerignore lets through."""
    with open(dockerfile + ".dockerignore", encoding="utf-8") as file:
        rules = [line.strip() for line in file if line.strip() and not line.startswith("#")]

    def passes(path):
        parents = ["/".join(path.split("/")[:n]) for n in range(1, path.count("/") + 2)]
        kept = True
        for rule in rules:
            pattern = rule.lstrip("!").removeprefix("**/")
            where = [part.rsplit("/", 1)[-1] for part in parents] if "**/" in rule else parents
            if any(fnmatch.fnmatchcase(part, pattern) for part in where):
                kept = rule.startswith("!")
        return kept

    for directory, folders, files in os.walk(context):
        folders[:] = [name for name in folders if directory != context or passes(name)]
        for name in files:
            path = os.path.relpath(os.path.join(directory, name), context)
            if passes(path):
                yield path


class Stage:
    """Where a stage is: its directory, environment and user."""

    def __init__(self, context, dockerfile):
        self.context, self.dockerfile = context, dockerfile
        self.directory, self.user, self.entry = "/", None, []
        self.environment = {**os.environ, "PATH": PATH}

    def do(self, name, rest):
        print("--", name, rest, flush=True)
        act = getattr(self, "do_" + name.lower(), None)
        if act:
            act(rest)

    def do_workdir(self, rest):
        self.directory = rest
        os.makedirs(rest, exist_ok=True)

    def do_env(self, rest):
        self.environment.update(pair.split("=", 1) for pair in shlex.split(rest))

    def do_user(self, rest):
        self.user = [int(number) for number in rest.split(":")]

    def do_entrypoint(self, rest):
        self.entry = json.loads(rest)

    def do_cmd(self, rest):
        json.loads(rest)  # no shell: a distroless image has none

    def do_run(self, rest):
        command = re.sub(r"^(--\w+=\S+\s+)+", "", rest)
        shell = ["sh", "-e", "-c", command]
        subprocess.run(shell, cwd=self.directory, env=self.environment, check=True)

    def do_copy(self, rest):
        *words, to = shlex.split(rest)
        options = dict(word[2:].split("=") for word in words if word.startswith("--"))
        to = os.path.join(self.directory, to)
        for source in (word for word in words if not word.startswith("--")):
            if "from" in options:
                found = {os.path.relpath(source, "/"): source} if os.path.isfile(source) else {}
                os.makedirs(to if os.path.isdir(source) else os.path.dirname(to), exist_ok=True)
            else:
                prefix = "" if source == "." else source.rstrip("/")
                found = {path: os.path.join(self.context, path) for path in kept(self.context, self.dockerfile)}
                found = {path: file for path, file in found.items() if not prefix or (path + "/").startswith(prefix + "/")}
                assert found, f"the context has no {source}"
                source = os.path.join(self.context, source)
            for path, file in found.items():
                inside = os.path.relpath(file, source) if os.path.isdir(source) else os.path.basename(path)
                target = os.path.join(to, inside) if to.endswith("/") or os.path.isdir(source) else to
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if not (os.path.exists(target) and os.path.samefile(file, target)):
                    shutil.copy2(file, target)
        if "chown" in options:
            shutil.chown(to, *(int(number) for number in options["chown"].split(":")))


def main(context, dockerfile, target):
    found = stages(dockerfile)
    if program := os.environ.get("SG_PROGRAM"):
        os.environ.update(SG_CARGO=shutil.which("cargo"), SG_PROGRAM=os.path.abspath(program))
        os.makedirs("/shim", exist_ok=True)
        with open("/shim/cargo", "w", encoding="ascii") as shim:
            shim.write(CARGO)
        os.chmod("/shim/cargo", 0o755)
    for name in ("build", target):
        stage = Stage(context, dockerfile)
        if name == "build":  # its base image has this machine's toolchain
            stage.environment["PATH"] = "/shim:" + os.environ["PATH"]
        for instruction, rest in found[name]:
            stage.do(instruction, rest)
    uid, gid = stage.user  # an image without a user would run as root
    run = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--"]
    stage.environment["HOME"] = "/"
    subprocess.run([*run, stage.entry[0], "--version"], cwd=stage.directory, env=stage.environment, check=True)
    if extra := os.environ.get("SG_THEN"):
        subprocess.run([*run, "sh", "-e", "-c", extra], cwd=stage.directory, env=stage.environment, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
