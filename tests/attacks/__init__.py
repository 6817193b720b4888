"""What a stranger, a tenant or a bad message can try, each with what bounds it."""
