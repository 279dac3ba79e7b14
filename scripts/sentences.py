#!/usr/bin/env python3
"""Sentences as arrays that an encoder such as minilm-l6 is fed.

    scripts/sentences.py TEXT... --padded -o sentences.npz  # sentences of text files
    scripts/sentences.py --docstrings -o sentences.npz      # of the documentation in Python's own modules

Splits texts into sentences, draws some of them by a fixed seed, and cuts them into pieces of words as BERT does
(lower case, no accents, WordPiece: Wu et al. 2016, section 4.1). Writes input_ids, attention_mask and
token_type_ids, int64 [sentences, words]. Needs numpy, and the list of pieces that scripts/fetch-weights.sh
fetches.

Only sentences of at least --words pieces are taken, and cut there, so that there is no padding: hidden states of
padding mean nothing, but `bantam shrink` would measure them. With --padded all are taken, as they are.
"""

import argparse
import ast
import pathlib
import random
import re
import sys
import sysconfig
import unicodedata

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST_WORD = 100


def read_vocabulary(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {piece: number for number, piece in enumerate(lines)}


def is_mark(c):
    """Whether a character stands alone: punctuation, and ASCII that is neither letter, digit nor space."""
    return (c.isascii() and not c.isalnum() and not c.isspace()) or unicodedata.category(c)[0] == "P"


def is_ideograph(c):
    return 0x4E00 <= ord(c) <= 0x9FFF or 0x3400 <= ord(c) <= 0x4DBF or 0xF900 <= ord(c) <= 0xFAFF


def words(text):
    """Words and marks of a text, in lower case and without accents."""
    parts = unicodedata.normalize("NFD", text.lower())
    out = []
    for c in parts:
        kind = unicodedata.category(c)
        if kind == "Mn" or c == "\ufffd" or (kind[0] == "C" and not c.isspace()):
            continue
        out.append(f" {c} " if is_mark(c) or is_ideograph(c) else c)
    return "".join(out).split()


def pieces(word, vocabulary):
    """The longest known pieces from the left; one unknown piece where that does not work out."""
    if len(word) > LONGEST_WORD:
        return [vocabulary["[UNK]"]]
    found, start = [], 0
    while start < len(word):
        lead = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if lead + word[start:end] in vocabulary)
        end = next(ends, None)
        if end is None:
            return [vocabulary["[UNK]"]]
        found.append(vocabulary[lead + word[start:end]])
        start = end
    return found


def encode(text, vocabulary, most):
    """Numbers of pieces between the marks of beginning and end, at most `most` in all."""
    inner = [n for word in words(text) for n in pieces(word, vocabulary)]
    return [vocabulary["[CLS]"], *inner[: most - 2], vocabulary["[SEP]"]]


def padded(rows):
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def sentences(text):
    """Parts of paragraphs that end as sentences do and have at least four words."""
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split())
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"'(])", flat):
            if sentence.endswith((".", "!", "?")) and len(re.findall(r"[A-Za-z]{2,}", sentence)) >= 4:
                yield sentence


def docstrings():
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield ast.get_docstring(node) or ""


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("texts", nargs="*", type=pathlib.Path)
    args.add_argument("--docstrings", action="store_true")
    args.add_argument("--vocabulary", type=pathlib.Path, default=ROOT / "data/cache/minilm-vocabulary.txt")
    args.add_argument("--most", type=int, default=400, help="sentences")
    args.add_argument("--words", type=int, default=32, help="pieces of a sentence")
    args.add_argument("--padded", action="store_true", help="sentences of any length, padded to the longest")
    args.add_argument("-o", "--out", type=pathlib.Path, required=True)
    args = args.parse_args()
    if not args.texts and not args.docstrings:
        sys.exit("error: expected files of text, or --docstrings")
    if not args.vocabulary.exists():
        sys.exit(f"error: {args.vocabulary} is not there; run scripts/fetch-weights.sh")
    texts = [path.read_text(encoding="utf-8") for path in args.texts]
    texts += docstrings() if args.docstrings else []
    found = sorted({s for text in texts for s in sentences(text)})
    if not found:
        sys.exit("error: there are no sentences of four words or more")
    random.Random(1).shuffle(found)
    vocabulary, rows = read_vocabulary(args.vocabulary), []
    for sentence in found:
        row = encode(sentence, vocabulary, 512 if args.padded else args.words)
        if args.padded or len(row) == args.words:
            rows.append(row)
        if len(rows) == args.most:
            break
    if not rows:
        sys.exit(f"error: no sentence has {args.words} pieces of words; say --padded, or fewer --words")
    arrays = padded(rows)
    np.savez(args.out, **arrays)
    lengths = arrays["attention_mask"].sum(1)
    print(f"{args.out}: {len(rows)} of {len(found)} sentences, {lengths.min()} to {lengths.max()} pieces of words, "
          f"mean {lengths.mean():.1f}")


if __name__ == "__main__":
    main()
