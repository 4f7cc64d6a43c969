# SPDX-License-Identifier: GPL-2.0-or-later
"""Artefacts that are built once: each a folder NAME-KEY in the cache, where KEY is a hash of what makes it.

A folder is built under another name and renamed into place, under a lock per artefact: what stands there is complete, and
several programs may ask at the same time.
"""
import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(base, "vmferry", "lab")
    os.makedirs(path, exist_ok=True)
    return path


@contextlib.contextmanager
def lock(name):
    with open(os.path.join(directory(), name + ".lock"), "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Recipe:
    """How an artefact is made. MAKE (out, final, needed paths...) fills OUT; NEEDS: other artefacts; SOURCES: modules of
    lablib whose text is part of the key; ANSWER: the path to print, below the artefact's folder."""

    def __init__(self, name, answer, make, needs=(), sources=(), about="", words=""):
        self.name, self.answer, self.make, self.needs, self.sources = name, answer, make, needs, sources
        self.about, self.words = about, words


def key(recipes, name):
    recipe = recipes[name]
    digest = hashlib.sha256(("%s %s %s" % (name, recipe.answer, recipe.words)).encode())
    for module in ("disk",) + tuple(recipe.sources):
        with open(os.path.join(HERE, "lablib", module + ".py"), "rb") as file:
            digest.update(file.read())
    for need in recipe.needs:
        digest.update(key(recipes, need).encode())
    return digest.hexdigest()[:12]


def folder(recipes, name):
    return os.path.join(directory(), "%s-%s" % (name, key(recipes, name)))


def answer(recipes, name):
    return os.path.join(folder(recipes, name), recipes[name].answer).rstrip("/")


def ensure(recipes, name, build):
    """Makes sure NAME and what it needs stand in the cache. BUILD (recipe, out, final) makes one; it may end our process
    on failure. Older versions of NAME are removed."""
    for need in recipes[name].needs:
        ensure(recipes, need, build)
    final = folder(recipes, name)
    if os.path.isdir(final):
        return
    with lock(name):
        if os.path.isdir(final):
            return
        begin = time.monotonic()
        for old in os.listdir(directory()):
            if old.rpartition("-")[0] == name and not old.endswith(".lock"):
                shutil.rmtree(os.path.join(directory(), old), ignore_errors=True)
        out = os.path.join(directory(), "%s-new%d" % (name, os.getpid()))
        os.mkdir(out)
        try:
            build(recipes[name], out, final)
            os.rename(out, final)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        sys.stderr.write("lab: %s made in %.1f s\n" % (name, time.monotonic() - begin))
