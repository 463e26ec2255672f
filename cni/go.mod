module quilt-cni

go 1.23
