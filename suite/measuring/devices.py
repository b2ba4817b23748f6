"""The devices of this machine: which one is meant, and how many workers they have room for."""

from __future__ import annotations

import os

import torch

from suite.errors import BadInput


def resolve_device(device: str) -> str:
    """`auto` is CUDA where there is one; anything else must exist.

    Raises:
        BadInput: there is no such device here.
    """
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cuda" and (number.isdigit() or not number):
        if torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count():
            return f"cuda:{number or 0}"
        count = torch.cuda.device_count()
        raise BadInput(f"--device {device}: no such CUDA device here ({count} found); use cpu or auto")
    if device != "cpu":
        raise BadInput(f"--device {device}: use auto, cpu, cuda or cuda:N")
    return device


def workers_here(device: str) -> tuple[int, tuple[str, ...]]:
    """How many workers this machine has by itself, and the GPUs that they are dealt out to.

    One a core; on CUDA one for each GPU, or one where a GPU is named (which then is the only one, its number kept).
    """
    if resolve_device(device) == "cpu":
        return os.cpu_count() or 1, ()
    if ":" in device or torch.cuda.device_count() == 1:
        return 1, ()
    said = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    seats = tuple(said) if said != [""] else tuple(str(number) for number in range(torch.cuda.device_count()))
    return len(seats), seats
