"""Parameters cut into pieces whose gradients are kept together, in passes that fit into memory."""

from dataclasses import dataclass

from ontogeny.quanta.gradients.parameters import Part


@dataclass(frozen=True)
class Piece:
    """Rows start … stop of a parameter; `outer`: its gradient is the outer product of two vectors, which are kept."""

    part: Part
    start: int
    stop: int
    outer: bool = False

    @property
    def entries(self) -> int:
        """Numbers kept for a sample."""
        return self.part.rows + self.part.width if self.outer else (self.stop - self.start) * self.part.width

    @property
    def is_long(self) -> bool:
        """Whether its gradient has so many entries that the format they are kept in matters for memory."""
        return self.part.is_matrix and not self.outer


def plan_passes(parts: list[Part], outer: set[Part], capacity: int) -> list[list[Piece]] | None:
    """Pieces in passes that keep at most `capacity` numbers a sample each; None if one row of a matrix is too much."""
    passes: list[list[Piece]] = [[]]
    room = capacity
    for part in parts:
        whole = Piece(part, 0, part.rows, part in outer)
        start = 0
        while start < part.rows:
            fits = whole.entries <= room if whole.outer else part.width <= room
            if not fits:
                if room == capacity:
                    return None
                passes.append([])
                room = capacity
                continue
            stop = part.rows if whole.outer else min(part.rows, start + room // part.width)
            piece = Piece(part, start, stop, whole.outer)
            passes[-1].append(piece)
            room -= piece.entries
            start = stop
    return passes
