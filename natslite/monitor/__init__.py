"""What operators ask a running server over HTTP. Endpoints: P-90 to P-93."""
