"""What a network costs: true multiply-accumulates, planned artifact bytes, estimated latency."""

from edgepose.cost.layers import LayerCost, count_macs, kernel_costs, layer_costs, total_macs
from edgepose.cost.size import model_shapes, planned_bytes, planned_layer_bytes

__all__ = [
    "LayerCost",
    "count_macs",
    "kernel_costs",
    "layer_costs",
    "model_shapes",
    "planned_bytes",
    "planned_layer_bytes",
    "total_macs",
]
