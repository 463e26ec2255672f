"""What is right, decided from values alone: requests, addresses, routes, CNI documents, firewall text."""
