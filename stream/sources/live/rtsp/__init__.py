"""RTSP video with counted packets: session, login, RTP, and the feed."""
