"""Shares out the steps of a training among processes, such as torchrun starts: its ranks.

Rank 0 runs the whole training. It alone prepares, validates, writes and reports; the others wait
for its messages and compute their rows of each batch (`epochs.follow`). Every rank adds up the
gradients of all and takes the same step, so the weights stay equal and are sent once a stage. What
is drawn by chance is drawn alike (`models.network.dropout`): the losses are those of one process,
but for the order of additions.

torch's DistributedDataParallel is not used. It takes the mean over ranks, where here a target
counts the same in every part of a batch; it wants all parameters in each step, where a stage moves
some of them and the LSTM is frozen at times; it wants one `forward`, where a stage reads the
network in parts. What is left of it is a sum over the gradients, which is `add_up`.

Glossary: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from models.errors import DeviceError, LostRankError, ModelDataError
from models.network.dropout import Part

CPU: Final = torch.device("cpu")
STEP: Final = timedelta(minutes=10)
"""Longest wait for the others to start, and for their part of a step."""
WAIT: Final = timedelta(days=7)
"""Longest wait for a message: rank 0 prepares and validates meanwhile. If it ends, so does this."""


@dataclass(frozen=True)
class Ranks:
    """Is one of the processes of a training, and knows the others; as it stands the only one."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    """What the networks of this process are trained on."""
    messages: Any = None
    """Is the group of processes in which rank 0 sends messages; None where there is one process."""

    def check_shared(self, most: int) -> None:
        """Raises ModelDataError if there are more processes than the rows of a batch, `most`."""
        if self.size > most:
            raise ModelDataError(
                f"{self.size} processes cannot share steps of {most} histories; start {most} or "
                "fewer"
            )

    def part_of(self, targets: Tensor) -> Part:
        """Returns the rows of a batch that this rank computes; targets: of each row, int [B].

        A rank that has no target computes the row with most of them, which counts nothing here: it
        has to draw the random numbers that the others draw.
        """
        rows = len(targets)
        if self.size == 1:
            return Part(0, rows, rows, 1.0)
        first, end = (rows * rank // self.size for rank in (self.rank, self.rank + 1))
        mine = int(targets[first:end].sum())
        if not mine:
            return Part(int(targets.argmax()), 1, rows, 0.0)
        return Part(first, end - first, rows, mine / int(targets.sum()))

    def add_up(self, parameters: Iterable[Tensor], losses: Tensor) -> Tensor:
        """Adds up gradients, in their place, and losses [L] over all ranks; returns the losses."""
        if self.size == 1:
            return losses
        gradients = [each.grad for each in parameters if each.grad is not None]
        together = torch.cat([*(gradient.flatten() for gradient in gradients), losses])
        with _others_there():
            dist.all_reduce(together)
        sizes = [*(each.numel() for each in gradients), len(losses)]
        *sums, losses = torch.split(together, sizes)
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view_as(gradient))
        return losses

    def tell(self, message: Any) -> None:
        """Sends a message from rank 0 to all others; None ends what they are at."""
        if self.size > 1:
            self._send(message)

    def hear(self) -> Any:
        """Returns the next message of rank 0.

        It is pickled: it comes from a process of the same command, and never from a file.
        """
        return self._send(None)

    def _send(self, message: Any) -> Any:
        """Returns what rank 0 has given."""
        box = [message]
        with _others_there():
            dist.broadcast_object_list(box, src=0, group=self.messages, device=CPU)
        return box[0]


ALONE: Final = Ranks()


@contextmanager
def joined(rank: int, local_rank: int, size: int, device: str = "cpu") -> Iterator[Ranks]:
    """Joins the processes of a training; at the end of rank 0's part the others are through.

    rank, size: among all processes; local_rank: among those of this machine; device: cpu or cuda,
    of which each takes one of its own. Where there are others, the environment says where they
    meet (MASTER_ADDR and MASTER_PORT). Raises DeviceError if the device is not there, and
    LostRankError if the others are not.
    """
    own = _device(device, local_rank)
    if size == 1:
        yield Ranks(device=own)
        return
    with _others_there():
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=STEP)
    try:
        with _others_there():
            messages = dist.new_group(backend="gloo", timeout=WAIT)
        ranks = Ranks(rank, size, own, messages)
        yield ranks
        if rank == 0:
            ranks.tell(None)
    finally:
        dist.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
    """Returns the device of a process. Raises DeviceError if it is not there."""
    if name == "cpu":
        return CPU
    if not torch.cuda.is_available():
        raise DeviceError("device is cuda, and torch sees no GPU; set it to cpu")
    if local_rank >= torch.cuda.device_count():
        raise DeviceError(
            f"process {local_rank} of this machine needs a GPU of its own, and torch sees "
            f"{torch.cuda.device_count()}; start so many with torchrun --nproc-per-node"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)  # NCCL takes the one that is set
    return device


@contextmanager
def _others_there() -> Iterator[None]:
    """Raises LostRankError where torch says, in many ways, that another process cannot be met."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise LostRankError(
            f"another process of this training has ended or cannot be reached ({said[0][:200]}); "
            "what it printed says why"
        ) from error
