"""Networks: they take {modality: image} and give logits, and know nothing of files on disk or of training loops."""
