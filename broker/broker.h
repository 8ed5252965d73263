// SPDX-License-Identifier: Apache-2.0
// The attestation and key broker as a library: `coffer broker serve` is broker_main. docs/broker.md describes files,
// protocol and options.
#ifndef COFFER_BROKER_BROKER_H
#define COFFER_BROKER_BROKER_H

#include "lib/fault.h"

#define BROKER_DEFAULT_LISTEN "127.0.0.1:8443"

// What follows `coffer broker serve` on the command line; argv[0] is a name for messages ("coffer broker serve").
// Options: --dir DIR, --listen ADDRESS:PORT (port 0: any free one), --insecure-accept-simulated ROOT.pem, --help.
// Serves until SIGTERM or SIGINT. When ready it prints "listening on https://ADDRESS:PORT" on stdout.
// Returns the exit code: 0 after a clean stop, 2 for wrong usage, 1 for any other failure (message on stderr).
int broker_main(int argc, char **argv);

// `coffer broker rekey-master`, the same way (rekey.c).
int broker_rekey_main(int argc, char **argv);
// `coffer broker backup` and `restore`.
int broker_backup_main(int argc, char **argv);
int broker_restore_main(int argc, char **argv);

// The state folder: $COFFER_BROKER_DIR, else $XDG_DATA_HOME/coffer/broker, else ~/.local/share/coffer/broker.
// -ENOENT when none is set, -ENAMETOOLONG.
int broker_default_dir(char *out, unsigned long size);

// Makes the state folder with what is missing in it: cert.pem (what coffer.yaml's `broker: ca:` points to), tls.key,
// admin.token, all 0600 but cert.pem (the master key is made by the first start, which knows what it is kept under). dir NULL: the default. Lets `coffer` hand out the
// certificate before the first start. 0 or a negative errno.
int broker_prepare(const char *dir, struct fault *f);

#endif
