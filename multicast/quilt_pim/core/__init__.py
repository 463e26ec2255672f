"""Pure decisions of the control plane: no sockets, no clock but the one passed in."""
