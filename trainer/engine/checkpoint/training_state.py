"""A training's whole state at one moment, in main memory: what a checkpoint holds, and how it is put back."""

from __future__ import annotations

from itertools import chain
from typing import Any

import mmengine
from mmengine.hooks import EarlyStoppingHook, EMAHook
from mmengine.model import is_model_wrapper

from trainer.engine.checkpoint.file import FORMAT, pack_hub, plain, restore_rng, rng_state

# Losses of the running epoch that a checkpoint keeps of each process but the first.
WINDOW = 10_000


def rank_state(runner: Any, rng: dict[str, Any] | None = None, batches: int = 0) -> dict[str, Any]:
    """What each process has for itself: random generators, gradients that wait for more to be added, and the losses
    of the running epoch's ``batches`` so far, of which averages are still to be told.

    The first process's losses are among what :func:`take_state` keeps.
    """
    wrapper = runner.optim_wrapper
    counts = getattr(wrapper, "_accumulative_counts", 1)
    waiting = counts > 1 and wrapper._inner_count % counts
    weights = bare(runner.model).named_parameters() if waiting else ()
    gradients = {name: weight.grad for name, weight in weights if weight.grad is not None}
    state = {"rng": rng or rng_state(), "gradients": plain(gradients)}
    if runner.rank and batches:
        scalars = runner.message_hub.log_scalars.items()
        window = min(batches, WINDOW)
        state["losses"] = {name: one.data[0][-window:].tolist() for name, one in scalars if "loss" in name}
    return state


def restore_rank(runner: Any, state: dict[str, Any]) -> None:
    """Put back what :func:`rank_state` gave."""
    restore_rng(state["rng"])
    for name, values in state.get("losses", {}).items():
        if name in runner.message_hub.log_scalars:
            history = runner.message_hub.log_scalars[name].data[0]  # until now the first process's
            kept = min(len(history), len(values))
            history[len(history) - kept :] = values[len(values) - kept :]
    gradients = state["gradients"]
    for name, weight in bare(runner.model).named_parameters() if gradients else ():
        if name in gradients:
            weight.grad = gradients[name].to(weight.device, copy=True)


def take_state(
    runner: Any,
    epoch: int,
    iteration: int,
    ranks: list[dict[str, Any]],
    about: dict[str, Any],
    **progress: Any,
) -> dict[str, Any]:
    """The checkpoint; nothing in it changes any more while training goes on.

    Args:
        epoch: epochs done.
        iteration: iterations done.
        ranks: :func:`rank_state` of every process.
        about: goes into ``meta["trainer"]``.
        progress: what to do first on the way on.
    """
    checkpoint: dict[str, Any] = {
        "format": FORMAT,
        "meta": {
            "epoch": epoch,
            "iter": iteration,
            "seed": runner.seed,
            "mmengine_version": mmengine.__version__,
            "dataset_meta": getattr(runner.train_dataloader.dataset, "metainfo", {}),
            "trainer": about,
        },
        "progress": {**progress, "stopped_early": bool(runner.train_loop.stop_training)},
        "state_dict": dict(bare(runner.model).state_dict()),
        "optimizer": runner.optim_wrapper.state_dict(),
        "message_hub": pack_hub(runner.message_hub),
        "ranks": ranks,
        "hooks": {
            type(hook).__name__: {"wait_count": hook.wait_count, "best_score": hook.best_score}
            for hook in runner.hooks
            if isinstance(hook, EarlyStoppingHook)
        },
    }
    schedulers = runner.param_schedulers
    if isinstance(schedulers, dict):
        checkpoint["param_schedulers"] = {
            name: [one.state_dict() for one in many] for name, many in schedulers.items()
        }
    elif schedulers is not None:
        checkpoint["param_schedulers"] = [one.state_dict() for one in schedulers]
    # EMAHook puts the averaged weights under state_dict here, and the trained ones beside them.
    runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
    return plain(checkpoint)


def restore_hooks(runner: Any, states: dict[str, Any]) -> None:
    """Put back the hooks' own counts."""
    for hook in runner.hooks:
        if isinstance(hook, EarlyStoppingHook):
            vars(hook).update(states.get("EarlyStoppingHook", {}))


def leave_validation(runner: Any) -> None:
    """Put the trained weights back: during validation the averaged ones are in their place."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            hook.after_val_epoch(runner)


def statistics(runner: Any) -> list[Any]:
    """The buffers (batch normalisation's means and variances) of the model and of its average."""
    averages = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
    return list(chain.from_iterable(model.buffers() for model in [bare(runner.model), *averages]))


def bare(model: Any) -> Any:
    """The model without what distributes it."""
    return model.module if is_model_wrapper(model) else model
