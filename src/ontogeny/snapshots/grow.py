"""Growing a small model family: one training run, saved at many moments as ordinary Hugging Face folders."""

import bisect
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ontogeny.config import config_identity, content_hash
from ontogeny.errors import NonFiniteError, SnapshotError
from ontogeny.schedules import decay, span_in_steps, warm_up
from ontogeny.snapshots.grow_config import FamilyConfig
from ontogeny.tokens.config import CorpusConfig, TextSourceConfig
from ontogeny.tokens.corpus import Corpus, build_corpus
from ontogeny.tokens.text_sources import iter_documents
from ontogeny.tokens.vocabulary import END_OF_TEXT, closed_tokenizer, open_tokenizer, train_tokenizer
from ontogeny.workspace import disk_errors, read_json, write_bytes, write_json

CHECKPOINT = "checkpoint"
PLAN = "rules.json"
LOSSES = "loss.jsonl"
Report = Callable[[int, float], None]


def grow_family(config: FamilyConfig, out_dir: Path | str, report: Report | None = None) -> list[Path]:
    """Train the family of `config` in `out_dir` and return its folders `step0`, `step1`, … in the order of steps.

    AdamW(0.9, 0.95) on the mean next-token loss, linear warm-up, linear decay at the end, gradient norm clipped.
    Every folder loads with AutoModelForCausalLM and AutoTokenizer. Beside them: `loss.jsonl` (step, loss in nats,
    lr, grad_norm), `tokenizer.json`, `corpus/`, `rules.json` (planted rules: the plan) and, until the end,
    `checkpoint/`. Where planted rules change, each stage has a corpus of its own (`corpus.stage1/`, …).

    A killed run goes on from its checkpoint: at the same number of threads the weights are those of an unbroken run,
    bit for bit, for what a step reads is a function of the seed and the step alone.
    `report(step, loss)` is called after each step.
    Errors: SnapshotError if `out_dir` holds another family, NonFiniteError if the loss is NaN or infinite.
    """
    out_dir = Path(out_dir)
    _claim(out_dir, config)
    folders = [out_dir / f"step{step}" for step in config.snapshot_steps]
    if all(folder.is_dir() for folder in folders) and not (out_dir / CHECKPOINT).is_dir():
        return folders
    tokenizer = _family_tokenizer(config, out_dir / "tokenizer.json")
    names = ["corpus", *(f"corpus.stage{stage}" for stage in range(1, len(config.stage_steps)))]
    corpora = [
        build_corpus(_corpus_config(config, stage), tokenizer, out_dir / name) for stage, name in enumerate(names)
    ]
    growth = _Growth.begin(config, out_dir, tokenizer, len(tokenizer))
    growth.resume()
    growth.save_snapshot_if_due()
    for batch in iter_training_batches(corpora, config, growth.step):
        loss = growth.train_step(batch)
        if report is not None:
            report(growth.step, loss)
        growth.save_snapshot_if_due()
        if growth.step % config.checkpoint_every == 0 and growth.step < config.steps:
            growth.save_checkpoint()
    shutil.rmtree(out_dir / CHECKPOINT, ignore_errors=True)
    return folders


def iter_training_batches(
    corpora: Sequence[Corpus], config: FamilyConfig, start: int
) -> Iterator[Int[Tensor, "row position"]]:
    """Batches of whole rows for the steps start … steps − 1, each from the corpus of its stage.

    Epoch e of a stage is a permutation drawn from (seed, e) and, from the second stage on, the stage's number.
    """
    order_of: dict[tuple[int, ...], np.ndarray] = {}
    for step in range(start, config.steps):
        stage = bisect.bisect_right(config.stage_steps, step) - 1
        corpus, since = corpora[stage], step - config.stage_steps[stage]
        picks = []
        for draw in range(since * config.batch_size, (since + 1) * config.batch_size):
            epoch = (config.seed, draw // corpus.n_rows, *([stage] if stage else []))
            if epoch not in order_of:
                order_of = {epoch: np.random.default_rng(epoch).permutation(corpus.n_rows)}
            picks.append(order_of[epoch][draw % corpus.n_rows])
        yield torch.from_numpy(np.asarray(corpus.tokens[np.asarray(picks)], dtype=np.int64))


def learning_rate(config: FamilyConfig, step: int) -> float:
    """The learning rate of the step that follows `step` finished ones."""
    decay_steps = span_in_steps(config.decay, config.steps)
    return config.lr * warm_up(step, config.warmup) * decay(step, config.steps, decay_steps)


def _claim(out_dir: Path, config: FamilyConfig) -> None:
    """Write down whose folder this is, or check it."""
    identity = config_identity(config)
    record = out_dir / "family.json"
    if record.is_file() and content_hash(read_json(record)) != content_hash(identity):
        raise SnapshotError(f"{out_dir} holds a family grown from another config; give this one its own folder.")
    if not record.is_file():
        write_json(record, identity)
    if config.plants_rules and not (out_dir / PLAN).is_file():
        from ontogeny.tokens.rules.world import build_stages, describe_plan

        write_json(out_dir / PLAN, describe_plan(build_stages(config.sources[0].rules)))


def _corpus_config(config: FamilyConfig, stage: int) -> CorpusConfig:
    """The text of a stage; a world that does not change is asked for as it is."""
    sources = config.sources
    if len(config.stage_steps) > 1:
        rules = sources[0].rules.model_copy(update={"stage": stage})
        sources = [sources[0].model_copy(update={"rules": rules})]
    return CorpusConfig(
        sources=sources, context_length=config.context_length, max_tokens=config.max_tokens, held_out=0.0
    )


def _family_tokenizer(config: FamilyConfig, file: Path) -> Any:
    """The family's tokenizer, made once: training BPE twice on the same text need not give the same ties."""
    if not file.is_file():
        if config.plants_rules:
            from ontogeny.tokens.rules.world import build_rules

            tokenizer = closed_tokenizer(build_rules(config.sources[0].rules).words)
        else:
            tokenizer = train_tokenizer(_tokenizer_texts(config), config.vocab_size)
        write_bytes(file, tokenizer.backend_tokenizer.to_str().encode())
    return open_tokenizer(file)


def _tokenizer_texts(config: FamilyConfig) -> Iterator[str]:
    """The beginning of every source's text, an equal share of characters each."""
    share = config.tokenizer_characters // len(config.sources)
    for source in config.sources:
        yield from _first_characters(source, share)


def _first_characters(source: TextSourceConfig, characters: int) -> Iterator[str]:
    for document in iter_documents(source, separator=END_OF_TEXT):
        text = document.text or "\n".join(message["content"] for message in document.messages)
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return


@dataclass
class _Growth:
    """A training run under way: model, optimizer and step."""

    config: FamilyConfig
    out_dir: Path
    tokenizer: Any
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def begin(cls, config: FamilyConfig, out_dir: Path, tokenizer: Any, vocab_size: int) -> "_Growth":
        """The model at step 0, a function of the seed alone."""
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # one bar a snapshot for writing a few MB
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model: torch.nn.Module = GPTNeoXForCausalLM(
                GPTNeoXConfig(
                    vocab_size=vocab_size,
                    hidden_size=config.d_model,
                    num_hidden_layers=config.n_layers,
                    num_attention_heads=config.n_heads,
                    intermediate_size=4 * config.d_model,
                    max_position_embeddings=config.context_length,
                    bos_token_id=0,
                    eos_token_id=0,
                    use_cache=False,
                )
            )
        model.to(config.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
        )
        return cls(config, out_dir, tokenizer, model, optimizer)

    def train_step(self, batch: Int[Tensor, "row position"]) -> float:
        """One optimizer step; logs and returns the loss before it, in nats a token."""
        batch = batch.to(self.config.device)
        logits = self.model(input_ids=batch).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        if not math.isfinite(loss.item()):
            raise NonFiniteError(
                f"the loss is {loss.item()} at step {self.step} of the family in {self.out_dir}; lower lr = "
                f"{self.config.lr} and grow it in a new folder (the snapshots before stay)."
            )
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        rate = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        entry = {"step": self.step, "loss": loss.item(), "lr": rate, "grad_norm": norm.item()}
        with disk_errors(self.out_dir), (self.out_dir / LOSSES).open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        self.step += 1
        return loss.item()

    def save_snapshot_if_due(self) -> None:
        """Save the model as a Hugging Face folder, whole or not at all, if this step is one of the snapshots."""
        folder = self.out_dir / f"step{self.step}"
        if self.step not in self.config.snapshot_steps or folder.is_dir():
            return
        partial = self.out_dir / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with disk_errors(folder):
            self.model.save_pretrained(partial)  # type: ignore[operator]
            self.tokenizer.save_pretrained(partial)
            _flush(partial)
        partial.rename(folder)

    def save_checkpoint(self) -> None:
        """Write weights and moments, the step last and atomically, beside the earlier state until then."""
        from safetensors.torch import save

        folder = self.out_dir / CHECKPOINT
        tensors = {f"model.{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            for moment, value in self.optimizer.state[parameter].items():
                tensors[f"{moment}.{name}"] = value
        file = folder / f"step{self.step}.safetensors"
        write_bytes(file, save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}))
        write_json(folder / "state.json", {"step": self.step, "threads": torch.get_num_threads()})
        for old in folder.glob("step*.safetensors"):
            if old != file:
                old.unlink()

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one; the log keeps only the steps that it covers."""
        from safetensors.torch import load_file

        state_file = self.out_dir / CHECKPOINT / "state.json"
        if state_file.is_file():
            self.step = int(read_json(state_file)["step"])
            tensors = load_file(self.out_dir / CHECKPOINT / f"step{self.step}.safetensors")
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(tensors[f"model.{name}"])
                    self.optimizer.state[parameter] = {
                        moment: tensors[f"{moment}.{name}"].to(parameter.device if moment != "step" else "cpu")
                        for moment in ("step", "exp_avg", "exp_avg_sq")
                    }
        log = self.out_dir / LOSSES
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
        write_bytes(log, "".join(lines[: self.step]).encode())


def _flush(folder: Path) -> None:
    """Make sure that a folder's files are on the disk before it gets its final name."""
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
