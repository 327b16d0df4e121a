"""From a frame to the network's masks and back to biometry in the frame's pixels; runs no runtime itself."""
