"""What the orders say about customers: scores, predictions and usual gaps, each silent where it knows too little."""
