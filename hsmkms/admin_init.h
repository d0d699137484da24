#pragma once

/* The one command of hsmkms-admin that works without a daemon: init --config FILE. Exit code. */
int cmd_init(int argc, char **argv);
