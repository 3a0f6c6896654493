"""Turn a latent up in one snapshot and read what it writes, beside what it writes untouched.

    python examples/steer.py DICTIONARY 'runs/mine/step*' resid_post.2 step1000 12 8 "some text"

DICTIONARY is the folder of a trained dictionary, the second argument the folders of the snapshots it was trained on; 12
is the latent, 8 what is added to its code.
"""

import sys
from pathlib import Path

import ontogeny as og


def steer(
    dictionary: Path, folders: str, hook_point: str, snapshot: str, latent: int, strength: float, prompt: str
) -> og.SteeringRecord:
    """The untouched text, the steered one, and one with a random direction as long as what steering adds."""
    steerer = og.Steerer(og.open_series(og.SeriesConfig(folders=folders)), og.load_dictionary(dictionary), [hook_point])
    request = og.SteeringRequest(
        prompt=prompt,
        snapshot=snapshot,
        interventions=[{"kind": "add", "latents": [latent], "strength": strength}],
        control=True,
        sampling={"max_tokens": 20, "seed": 0},
    )
    return steerer.steer(request)


if __name__ == "__main__":
    if len(sys.argv) != 8:
        sys.exit(__doc__)
    record = steer(Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5]), float(sys.argv[6]), sys.argv[7])
    for kind in record.kinds:
        print(f"{kind}: {record.text(kind)!r}")
    for each in record.divergences():
        print(f"KL of the {each.run} run on the {each.kind} text: {each.mean:.4f} nats a token over {each.n_tokens}")
