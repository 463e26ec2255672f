"""The operator: hands out subnets and judges which nodes are down."""
