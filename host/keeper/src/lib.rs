//! One small process per VM: parent of the VMM, proof of life, bounded serial log, guest streams.
