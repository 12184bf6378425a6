"""What pages are built from: tables, forms, confirmations, feedback, small charts."""
