import torch

from ontogeny.activations.buffers import Buffers


def test_memory_is_lent_again_once_every_view_is_gone() -> None:
    buffers = Buffers()
    first = buffers.lend((2, 3), torch.float32)
    address, part = first.data_ptr(), first[1]
    del first
    second = buffers.lend((2, 3), torch.float32)
    assert second.data_ptr() != address, "a view of it is still held"
    del part
    assert buffers.lend((3, 2), torch.float32).data_ptr() == address
    assert buffers.lend((1,), torch.int8).shape == (1,)
