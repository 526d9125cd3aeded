"""Who may do what. One question, one answer, whichever door it is asked at."""
