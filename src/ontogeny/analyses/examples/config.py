"""How many examples of each latent, of which kinds, with how much text."""

from pydantic import Field

from ontogeny.config import Config


class ExamplesConfig(Config):
    """Examples of every latent, drawn by a seeded hash: the same for the same text, whatever the batches."""

    top: int = Field(8, ge=1)
    """Strongest tokens, one a document."""
    bins: int = Field(5, ge=0)
    """Bins of equally many active tokens, from the weakest to the strongest (true quantiles)."""
    per_bin: int = Field(2, ge=1)
    """Tokens drawn from each bin."""
    levels: int = Field(4, ge=0)
    """Bins of equal width between 0 and the latent's largest code (fractions of the maximum)."""
    per_level: int = Field(1, ge=1)
    """Tokens drawn from each level."""
    controls: int = Field(6, ge=0)
    """Tokens in whose window the latent is silent."""
    before: int = Field(16, ge=0)
    """Places of context before the marked token, within its row and document."""
    after: int = Field(8, ge=0)
    """Places of context behind it."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""

    @property
    def windows_a_latent(self) -> int:
        """Examples of a latent at most."""
        return self.top + self.bins * self.per_bin + self.levels * self.per_level + self.controls
