"""The plain loop, one cell at a time with `nn.Module` and `torch.optim`: what stacked training is compared against."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.models.flat import initial_weights
from suite.spec.cells import Cell
from suite.spec.training import SGD, AdamW
from suite.training.objective import mean_loss
from suite.training.optimizers import schedule_factors
from suite.training.order import minibatches
from suite.training.problem import Problem


def train_cell(cell: Cell, problem: Problem, steps: int | None = None) -> Tensor:
    """Train one cell for `steps` steps (default: all, without stop rules) and return its flat weights `[d]`."""
    task, train = cell.task, problem.train
    device, dtype = train.inputs.device, problem.dtype
    module = task.model.build(task.data.shape()).to(device, dtype)
    flat = initial_weights(task.model, task.data.shape(), task.seed).to(device, dtype)
    torch.nn.utils.vector_to_parameters(flat, module.parameters())
    total = task.training.total_steps(len(train))
    optimizer = _torch_optimizer(task.training.optimizer, module)
    factors = schedule_factors(task.training.schedule, total)
    batch = task.training.batch(len(train))
    parts = minibatches(train, task.seed, batch, 0, total if steps is None else steps)
    for step, (inputs, targets) in enumerate(parts):
        for group in optimizer.param_groups:
            group["lr"] = task.training.optimizer.learning_rate * factors[step]
        optimizer.zero_grad()
        mean_loss(problem.objective, module(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


def _torch_optimizer(spec: SGD | AdamW, module: torch.nn.Module) -> torch.optim.Optimizer:
    if isinstance(spec, SGD):
        return torch.optim.SGD(
            module.parameters(), spec.learning_rate, momentum=spec.momentum, weight_decay=spec.weight_decay
        )
    betas = (spec.beta1, spec.beta2)
    return torch.optim.AdamW(module.parameters(), spec.learning_rate, betas, spec.epsilon, spec.weight_decay)
