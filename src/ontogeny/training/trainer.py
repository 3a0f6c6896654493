"""The training loop: one optimizer, the schedules, dead counters, checkpoints, and a loss that is what it logs."""

import itertools
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ontogeny.activations.shuffled_snapshots import ShuffledSnapshots
from ontogeny.activations.stream import ActivationBatch, ActivationStream, Cursor
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder, StepContext
from ontogeny.errors import ConfigError, NonFiniteError, StoreError
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.progress import Reporter
from ontogeny.schedules import anneal_k, decay, warm_up
from ontogeny.training.checkpoint import (
    Checkpoint,
    CheckpointState,
    load_last_checkpoint,
    optimizer_tensors,
    random_states,
    restore_optimizer,
    restore_random_states,
    save_checkpoint,
)
from ontogeny.training.config import TrainingConfig
from ontogeny.training.finite import check_finite, non_finite_loss
from ontogeny.training.memory import return_freed_blocks, spare_bytes
from ontogeny.training.metrics import Clock, compute_step_metrics, describe
from ontogeny.training.tracking import Tracker, open_tracker
from ontogeny.types import source_names

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class TrainingSummary:
    """What a finished training was: updates, tokens, the step it resumed from (0: none), seconds of this process."""

    steps: int
    tokens: int
    resumed_from: int
    seconds: float
    metrics: dict[str, int | float]


def train(
    stream: ActivationStream,
    crosscoder: Crosscoder,
    config: TrainingConfig,
    out_dir: Path,
    tracker: Tracker | None = None,
    device: str = "cpu",
    reporter: Reporter | None = None,
) -> TrainingSummary:
    """Train `crosscoder` on `stream`, from the newest checkpoint in `out_dir` if there is one, and save it there.

    loss = sum of the terms of `Crosscoder.training_step`, which are also what is logged. On the CPU a run that was
    killed and called again ends with the very weights of an uninterrupted one, at the same number of threads.
    Errors: NonFiniteError for NaN or infinity (the last checkpoint stays); StoreError where the stream lacks a source
    that the dictionary reads or writes; ConfigError for settings that do not fit the dictionary.
    """
    tracker = tracker or open_tracker(out_dir)
    return_freed_blocks(spare_bytes(crosscoder, config))
    stream = ShuffledSnapshots(stream, config.seed) if config.shuffle_snapshots else stream
    trainer = Trainer(stream, crosscoder, config, out_dir, torch.device(device))
    summary = trainer.run(tracker, reporter)
    tracker.close()
    del trainer  # Adam's moments go before the weights are copied out
    crosscoder.save(out_dir)
    return summary


class Trainer:
    """The state of one training run: weights, moments, dead counters, the place in the stream."""

    def __init__(
        self,
        stream: ActivationStream,
        crosscoder: Crosscoder,
        config: TrainingConfig,
        out_dir: Path,
        device: torch.device,
    ) -> None:
        self.stream = stream
        self.crosscoder = crosscoder.to(device).train()
        self.config = config
        self.out_dir = out_dir
        self.device = device
        self.reads = source_positions(stream.sources, crosscoder.sources_in)
        self.writes = source_positions(stream.sources, crosscoder.sources_out)
        self.optimizer = _open_optimizer(crosscoder, config)
        self.step = 0
        self.tokens = 0
        self.cursor: Cursor | None = None
        self.tokens_since_fired: Int[Tensor, latent] = torch.zeros(
            crosscoder.n_latents, dtype=torch.int64, device=device
        )
        self.own_k: int | None = getattr(crosscoder.config.activation, "k", None)
        if config.initial_k is not None and self.own_k is None:
            raise ConfigError(
                f"training.initial_k = {config.initial_k}: the activation function "
                f"{crosscoder.config.activation.kind!r} has no k to anneal; remove the key."
            )

    def run(self, tracker: Tracker, reporter: Reporter | None = None) -> TrainingSummary:
        """Every step that is still to be made."""
        started = time.monotonic()
        if not self._resume():
            self._initialise()
        first = self.step
        total = self.config.total_steps
        tracker.rewind(first)
        metrics: dict[str, int | float] = {}
        clock = Clock(self.tokens)
        with (reporter or Reporter()).measure("training", total, first) as advance:
            batches = self._batches()
            while self.step < total:
                wanted = self.step % self.config.log_every == 0 or self.step == total - 1
                made = self._update(batches, wanted)
                if made is not None:
                    metrics = made | {"train/tokens": self.tokens, "train/tokens_per_second": clock.rate(self.tokens)}
                    tracker.log(self.step - 1, metrics)
                    advance(self.step, describe(metrics))
                if self.step % self.config.checkpoint_every == 0 or self.step == total:
                    self._save()
        return TrainingSummary(self.step, self.tokens, first, time.monotonic() - started, metrics)

    def _batches(self) -> Iterator[ActivationBatch]:
        """One batch for each step still to be made; StoreError when the stream ends before."""
        config = self.config
        if self.step < config.total_steps:
            batches = self.stream.iter_batches(config.batch_size, seed=config.seed, cursor=self.cursor)
            yield from itertools.islice(batches, config.total_steps - self.step)
        if self.step < config.total_steps:
            raise StoreError(
                f"the activations ended after {self.step} of {config.total_steps} training steps: lower training.steps "
                "or harvest more tokens."
            )

    def _update(self, batches: Iterator[ActivationBatch], wanted: bool) -> dict[str, int | float] | None:
        """One optimizer update on the next batch; its metrics if they are wanted."""
        # Before the forward and not only before the backward: the last gradients make room for its tables.
        self.optimizer.zero_grad(set_to_none=True)
        rate = self._set_learning_rate()
        codes, cursor, metrics = self._differentiate(batches, wanted)
        norm = self._clip()
        self.optimizer.step()
        self.crosscoder.after_step(codes)
        self._count_silence(codes)
        self.step += 1
        self.tokens += codes.n_tokens
        self.cursor = cursor
        if metrics is None:
            return None
        return metrics | {
            "train/dead": float(self._dead().double().mean()),
            "train/lr": rate,
            "train/grad_norm": norm,
        }

    def _differentiate(
        self, batches: Iterator[ActivationBatch], wanted: bool
    ) -> tuple[Codes, Cursor, dict[str, int | float] | None]:
        """Leave the loss's gradients with the weights; the codes, the place in the stream, the metrics if wanted."""
        batch = next(batches)
        x, target = self._read_and_written(batch.x.to(self.device, non_blocking=True))
        context = self._context()
        with torch.autocast(self.device.type, torch.bfloat16, self.config.autocast and self.device.type != "cpu"):
            output = self.crosscoder.training_step(x, context, target)
        loss, codes, metrics = output.loss, output.codes, None
        if not torch.isfinite(loss):
            raise non_finite_loss(self.step, output, batch, self.stream.sources)
        if wanted:
            seen = x if target is None else target
            names = source_names([self.stream.sources[i] for i in self.writes])
            metrics = compute_step_metrics(output.terms, seen, output.recon, codes, names)
            metrics["train/sparsity_factor"] = context.sparsity_factor
            if self.own_k is not None:
                metrics["train/k"] = context.k or self.own_k
        cursor = batch.cursor
        del output, x, target, batch  # the backward has its own copies of what it needs, and nobody else holds these
        loss.backward()
        return codes, cursor, metrics

    def _set_learning_rate(self) -> float:
        """The learning rate of this step, set in every group; the plain one is returned."""
        config = self.config
        rate = config.lr * warm_up(self.step, config.steps_of(config.warmup))
        rate *= decay(self.step, config.total_steps, config.steps_of(config.decay), config.decay_shape, config.final_lr)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    def _context(self) -> StepContext:
        config = self.config
        k = None
        if config.initial_k is not None and self.own_k is not None:
            k = anneal_k(self.step, self.own_k, config.initial_k, config.steps_of(config.k_anneal))
        return StepContext(
            sparsity_factor=warm_up(self.step, config.steps_of(config.sparsity_warmup)), k=k, dead=self._dead()
        )

    def _dead(self) -> Bool[Tensor, "latent"]:
        return self.tokens_since_fired >= self.config.dead_after_tokens

    @torch.no_grad()
    def _count_silence(self, codes: Codes) -> None:
        """Training batches alone move these counters; evaluation has no way to them."""
        self.tokens_since_fired += codes.n_tokens
        self.tokens_since_fired[codes.counts() > 0] = 0

    def _clip(self) -> float:
        """The gradient's norm before clipping; NonFiniteError if it is none, before any weight has changed."""
        gradients = [weight.grad for weight in self.crosscoder.parameters() if weight.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            raise NonFiniteError(
                f"the gradient at training step {self.step} is not finite though the loss is: lower training.lr; "
                f"the last checkpoint is kept in {self.out_dir / CHECKPOINTS}."
            )
        # Scaled only when too long: clip_grad_norm_ would write every gradient once more at each step.
        if self.config.clip is not None and norm > self.config.clip:
            torch._foreach_mul_(gradients, self.config.clip / norm)
        return norm

    def _initialise(self) -> None:
        """Scales of the stream, then the dictionary's own initialisation on the first rows of the stream."""
        config = self.config
        scales = self.stream.scales.to(self.device)
        self.crosscoder.set_scales(scales[self.reads], scale_out=scales[self.writes])
        rows: list[Tensor] = []
        for batch in self.stream.iter_batches(config.batch_size, seed=config.seed):
            check_finite(batch, self.stream.sources)
            rows.append(batch.x)
            if sum(part.shape[0] for part in rows) >= config.initial_rows:
                break
        activations = torch.cat(rows).to(self.device)
        generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)
        x, target = self._read_and_written(activations)
        self.crosscoder.initialise(x, generator, target)

    def _read_and_written(self, activations: Tensor) -> tuple[Tensor, Tensor | None]:
        """The sources read, and those written where they differ (a transcoder)."""
        x = select_sources(activations, self.reads)
        return x, None if self.writes == self.reads else select_sources(activations, self.writes)

    def _resume(self) -> bool:
        """Take up the newest checkpoint; False where there is none."""
        checkpoint = load_last_checkpoint(self.out_dir / CHECKPOINTS)
        if checkpoint is None:
            return False
        state = checkpoint.state
        if self.device.type == "cpu" and state.threads != torch.get_num_threads():
            log.warning(
                "resuming with %d threads what was begun with %d: the weights will differ in their last bits.",
                torch.get_num_threads(),
                state.threads,
            )
        self.crosscoder.load_state_dict(checkpoint.weights)
        restore_optimizer(self.optimizer, self.crosscoder, checkpoint.optimizer)
        self.tokens_since_fired = checkpoint.trainer["tokens_since_fired"].to(self.device)
        restore_random_states(checkpoint.trainer, self.device)
        self.step, self.tokens, self.cursor = state.step, state.tokens, Cursor.from_json(state.cursor)
        return True

    def _save(self) -> None:
        assert self.cursor is not None, "a checkpoint is written after an update"
        # Writing copies one file's tensors; the gradients, which nobody needs any more, make room for that.
        self.optimizer.zero_grad(set_to_none=True)
        state = CheckpointState(
            self.step, self.tokens, self.cursor.to_json(), torch.get_num_threads(), str(self.device)
        )
        trainer = {"tokens_since_fired": self.tokens_since_fired} | random_states(self.device)
        checkpoint = Checkpoint(
            state, self.crosscoder.state_dict(), optimizer_tensors(self.optimizer, self.crosscoder), trainer
        )
        save_checkpoint(checkpoint, self.out_dir / CHECKPOINTS, self.config.keep_last)


def _open_optimizer(crosscoder: Crosscoder, config: TrainingConfig) -> torch.optim.Adam:
    """Fused Adam; thresholds are a group of their own, whose `factor` multiplies the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in crosscoder.named_parameters():
        factor = config.threshold_lr_factor if "threshold" in name else 1.0
        groups.setdefault(factor, []).append(parameter)
    return torch.optim.Adam(
        [{"params": parameters, "factor": factor} for factor, parameters in groups.items()],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )
