"""The training loop: it learns, it resumes bit for bit after SIGKILL, and it stops where numbers stop being numbers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import linear

from ontogeny.activations.memory import MemoryStore
from ontogeny.dictionaries.activation_functions.preactivation import Preactivation
from ontogeny.dictionaries.config import BatchTopKConfig, CrosscoderConfig, JumpReLUConfig
from ontogeny.dictionaries.crosscoder import Crosscoder, load_dictionary
from ontogeny.errors import ConfigError, NonFiniteError, StoreError
from ontogeny.training.checkpoint import checkpoint_folders
from ontogeny.training.config import TrainingConfig
from ontogeny.training.tracking import METRICS_FILE, load_metrics
from ontogeny.training.trainer import Trainer, train
from training.planted import D_MODEL, NAMES, SHORT, planted_store, small_crosscoder

CPU = torch.device("cpu")


def test_it_learns_and_logs_what_it_adds_up(tmp_path: Path) -> None:
    config = TrainingConfig(steps=200, batch_size=256, lr=3e-3, log_every=20)
    summary = train(planted_store(), small_crosscoder(), config, tmp_path)
    assert summary.metrics["train/fve"] > 0.85
    assert summary.steps == 200
    lines = load_metrics(tmp_path / METRICS_FILE)
    assert [line["step"] for line in lines] == [*range(0, 200, 20), 199]
    for line in lines:
        terms = sum(value for name, value in line.items() if name.startswith("train/terms/"))
        assert line["train/loss"] == pytest.approx(terms, rel=1e-6)
        assert {f"train/fve/{name}" for name in NAMES} <= set(line)
    assert load_dictionary(tmp_path).sources_in == NAMES


def test_k_is_annealed_to_exactly_its_own_value(tmp_path: Path) -> None:
    train(planted_store(), small_crosscoder(), SHORT, tmp_path)
    ks = [line["train/k"] for line in load_metrics(tmp_path / METRICS_FILE)]
    assert ks[0] == 20
    assert ks[4:] == [5] * 36
    assert [line["train/l0"] for line in load_metrics(tmp_path / METRICS_FILE)][-1] <= 5.0


@pytest.mark.parametrize("spans", [{"warmup": 0, "decay": 0, "sparsity_warmup": 0}, {"warmup": 0.05, "decay": 0.05}])
def test_spans_of_no_step_divide_nothing_by_zero(spans: dict[str, float], tmp_path: Path) -> None:
    config = TrainingConfig(steps=3, batch_size=32, **spans)  # type: ignore[arg-type]
    assert train(planted_store(), small_crosscoder(), config, tmp_path).steps == 3


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from training.planted import SHORT, planted_store, small_crosscoder
from ontogeny.training.tracking import open_tracker
from ontogeny.training.trainer import train

class Killer:
    def rewind(self, step): pass
    def close(self): pass
    def log(self, step, metrics):
        inner.log(step, metrics)
        if step == 19:
            os.kill(os.getpid(), signal.SIGKILL)

inner = open_tracker(Path(sys.argv[1]))
train(planted_store(), small_crosscoder(), SHORT, Path(sys.argv[1]), Killer())
"""


def test_killed_and_called_again_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    train(planted_store(), small_crosscoder(), SHORT, tmp_path / "whole")
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(Path(__file__).parent.parent)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ONTOGENY_TYPECHECK": "0"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [path.name for path in checkpoint_folders(tmp_path / "killed" / "checkpoints")] == ["00000016"]
    torch.manual_seed(99)
    summary = train(planted_store(), small_crosscoder(), SHORT, tmp_path / "killed")
    assert summary.resumed_from == 16
    whole, again = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "killed"))
    assert whole.keys() == again.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name
    lines = [load_metrics(tmp_path / run / METRICS_FILE) for run in ("whole", "killed")]
    assert [line["train/loss"] for line in lines[0]] == [line["train/loss"] for line in lines[1]]
    assert [line["train/dead"] for line in lines[0]] == [line["train/dead"] for line in lines[1]]


def test_a_finished_run_called_again_changes_nothing(tmp_path: Path) -> None:
    train(planted_store(), small_crosscoder(), SHORT, tmp_path)
    before = (tmp_path / "weights.safetensors").read_bytes()
    lines = (tmp_path / METRICS_FILE).read_bytes()
    assert train(planted_store(), small_crosscoder(), SHORT, tmp_path).resumed_from == 40
    assert (tmp_path / "weights.safetensors").read_bytes() == before
    assert (tmp_path / METRICS_FILE).read_bytes() == lines


def test_a_nan_in_the_activations_names_its_place(tmp_path: Path) -> None:
    store = planted_store(256)
    trainer = Trainer(store, small_crosscoder(), TrainingConfig(steps=9, batch_size=64), tmp_path, CPU)
    store.scales  # noqa: B018 - norms are taken before the damage
    store.values[1][77, 3] = float("nan")
    with pytest.raises(NonFiniteError, match=r"'step1' at resid_post\.0 are not finite in row 77"):
        trainer.run(_Silent())


def test_a_diverging_loss_stops_before_the_weights_change(tmp_path: Path) -> None:
    crosscoder = small_crosscoder()
    config = TrainingConfig(steps=20, batch_size=64, checkpoint_every=5)
    train(planted_store(256), crosscoder, config, tmp_path)
    longer = config.model_copy(update={"steps": 40})
    trainer = Trainer(planted_store(256), crosscoder, longer, tmp_path, CPU)
    trainer.crosscoder.register_forward_pre_hook(lambda *_: None)
    broken = crosscoder.training_step

    def diverge(*arguments: object) -> object:
        output = broken(*arguments)  # type: ignore[arg-type]
        output.terms["recon"] = output.terms["recon"] * float("inf")
        return output

    crosscoder.training_step = diverge  # type: ignore[method-assign, assignment]
    with pytest.raises(NonFiniteError, match=r"step 20 is not finite \(terms recon\)"):
        trainer.run(_Silent())
    assert [path.name for path in checkpoint_folders(tmp_path / "checkpoints")] == ["00000020"]


class _Silent:
    def rewind(self, step: int) -> None: ...

    def log(self, step: int, metrics: object) -> None: ...

    def close(self) -> None: ...


def test_a_source_that_the_stream_lacks_is_named(tmp_path: Path) -> None:
    crosscoder = Crosscoder(CrosscoderConfig(n_latents=8, activation=BatchTopKConfig(k=2)), ("step9",), d_model=D_MODEL)
    with pytest.raises(StoreError, match="'step9'"):
        train(planted_store(64), crosscoder, TrainingConfig(steps=1), tmp_path)


def test_annealing_k_of_an_activation_without_k_is_refused(tmp_path: Path) -> None:
    config = CrosscoderConfig(n_latents=8, activation=JumpReLUConfig())
    with pytest.raises(ConfigError, match="jumprelu"):
        train(planted_store(64), Crosscoder(config, NAMES, d_model=D_MODEL), SHORT, tmp_path)


def test_thresholds_learn_at_their_own_rate(tmp_path: Path) -> None:
    crosscoder = Crosscoder(CrosscoderConfig(n_latents=8, activation=JumpReLUConfig()), NAMES, d_model=D_MODEL)
    config = TrainingConfig(steps=1, lr=1e-3, threshold_lr_factor=0.5, warmup=0, decay=0)
    trainer = Trainer(planted_store(64), crosscoder, config, tmp_path, CPU)
    trainer.run(_Silent())
    groups = trainer.optimizer.param_groups
    assert sorted(group["lr"] for group in groups) == [5e-4, 1e-3]
    (slow,) = (group for group in groups if group["lr"] == 5e-4)
    assert [tuple(weight.shape) for weight in slow["params"]] == [(8,)]


def test_a_transcoder_reads_some_sources_and_writes_others(tmp_path: Path) -> None:
    config = CrosscoderConfig(n_latents=64, activation=BatchTopKConfig(k=6), aux_k=None)
    crosscoder = Crosscoder(config, ("step0",), ("step2",), d_model=D_MODEL)
    summary = train(planted_store(), crosscoder, TrainingConfig(steps=120, batch_size=128, lr=3e-3), tmp_path)
    assert summary.metrics["train/fve/step2"] > 0.2
    assert "train/fve/step0" not in summary.metrics


def test_long_gradients_are_clipped_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_save", lambda self: None)
    trainer = Trainer(planted_store(64), small_crosscoder(), TrainingConfig(steps=1, clip=1e-3), tmp_path, CPU)
    trainer.run(_Silent())
    gradients = [weight.grad for weight in trainer.crosscoder.parameters() if weight.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(1e-3, rel=1e-4)


def test_one_source_gives_an_sae(tmp_path: Path) -> None:
    x = planted_store().read_rows(torch.arange(1000).numpy())[:, :1]
    store = MemoryStore.from_tensors(x, ("model",))
    config = CrosscoderConfig(n_latents=96, activation=BatchTopKConfig(k=5))
    sae = Crosscoder(config, ("model",), d_model=D_MODEL)
    assert train(store, sae, TrainingConfig(steps=100, batch_size=128, lr=3e-3), tmp_path).metrics["train/fve"] > 0.7


@pytest.mark.parametrize(
    "activation",
    [{"kind": "topk", "k": 5}, {"kind": "batchtopk", "k": 5}, {"kind": "relu"}, {"kind": "jumprelu"}],
    ids=lambda activation: activation["kind"],
)
def test_autocast_to_bfloat16_learns_the_same_within_its_rounding(
    activation: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainingConfig(steps=60, batch_size=128, lr=3e-3, log_every=20)
    fve, autocast = {}, torch.autocast
    for name in ("float32", "bfloat16"):
        torch.manual_seed(0)
        crosscoder = Crosscoder(CrosscoderConfig(n_latents=32, activation=activation), NAMES, d_model=D_MODEL)
        with monkeypatch.context() as patch:
            if name == "bfloat16":
                # On the CPU the trainer leaves autocast off (it would be slower), and the table of scores is written
                # in place, which autocast does not see. Here both are as on a GPU.
                patch.setattr(torch, "autocast", lambda device, dtype, enabled: autocast(device, dtype, True))
                patch.setattr(Preactivation, "_table", lambda self, W, b: linear(self.x, W, b))
            fve[name] = train(planted_store(), crosscoder, config, tmp_path / name).metrics["train/fve"]
        assert {weight.dtype for weight in crosscoder.parameters()} == {torch.float32}, "master weights stay float32"
    assert fve["bfloat16"] != fve["float32"]
    assert fve["bfloat16"] == pytest.approx(fve["float32"], abs=0.03)
