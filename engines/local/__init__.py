"""One engine for several processes of this machine: frames and answers go by shared memory."""
