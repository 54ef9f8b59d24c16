"""What rundlet keeps on disk: blobs, layers, images, snapshots, records."""
