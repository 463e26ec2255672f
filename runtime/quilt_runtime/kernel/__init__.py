"""What touches Linux: bridge, pods' interfaces, routes, nftables, sysctls, and the watch over them."""
