"""The NAS-Bench-201 search space (Dong & Yang, ICLR 2020, arXiv 2001.00326).

A cell has four nodes, the input 0 and three more; each of the six edges between them carries one of
five operations, so there are 5^6 = 15,625 cells. An architecture is a vector of six integers: entry
``e`` is the index in :data:`OPS` of the operation on the edge ``EDGES[e]``.

This module gathers the whole interface: encoding, samples, canonical forms and costs.
"""

from jaxntk.spaces.nasbench201_canonical import (
    function_form,
    is_connected,
    live_edges,
    tied_function_form,
    tied_representative,
    unique_string,
)
from jaxntk.spaces.nasbench201_cost import (
    Costs,
    num_convolutions,
    num_flops,
    num_params,
    population_costs,
)
from jaxntk.spaces.nasbench201_encoding import (
    EDGES,
    NUM_EDGES,
    OPS,
    SPACE_SIZE,
    ArchLike,
    check_arch,
    check_archs,
    decode,
    encode,
    enumerate_space,
    format_ops,
    from_index,
    from_indices,
    index_of,
    indices_of,
    parse_ops,
    read,
)
from jaxntk.spaces.nasbench201_sample import sample

__all__ = [
    "EDGES",
    "NUM_EDGES",
    "OPS",
    "SPACE_SIZE",
    "ArchLike",
    "Costs",
    "check_arch",
    "check_archs",
    "decode",
    "encode",
    "enumerate_space",
    "format_ops",
    "from_index",
    "from_indices",
    "function_form",
    "index_of",
    "indices_of",
    "is_connected",
    "live_edges",
    "num_convolutions",
    "num_flops",
    "num_params",
    "parse_ops",
    "population_costs",
    "read",
    "sample",
    "tied_function_form",
    "tied_representative",
    "unique_string",
]
