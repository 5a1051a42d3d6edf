"""Models of days, one module each; `forecasting.serving.catalogue` names them."""
