// What gpupool(1) says beside the command line: variables, files, an example.
#include "cli/gpupool.h"

namespace gpupool {
namespace {

ManualPart environment() {
  return {.title = "ENVIRONMENT",
          .entries = {{"GPUPOOL_ENDPOINT", "Where the pool is, as --endpoint says it."},
                      {"GPUPOOL_TOKEN",
                       "The token, where --token-file names none. Empty or not "
                       "set: you come without one."},
                      {"GPUPOOL_SERVER_KEY", "The pool's public key, as --server-key says it."},
                      {"NO_COLOR", "If it is set to anything, nothing is coloured."},
                      {"LC_ALL, LC_CTYPE, LANG",
                       "The first that is set decides whether bars are "
                       "drawn in UTF-8 or in ASCII."}}};
}

ManualPart files() {
  return {.title = "FILES",
          .entries = {{"NAME.secret, NAME.public",
                       "What token keygen and keys curve make. A secret is for its owner alone."},
                      {"pki/",
                       "The authority and the certificates of a pool's machines: pki init, "
                       "pki node."},
                      {"gpupool.sqlite", "The ledger that audit --ledger and ledger export read."},
                      {"/etc/gpupool/gpupool.toml",
                       "The configuration of a pool that was installed as a package; token mint, "
                       "token inspect and audit read it with --config."}}};
}

ManualPart examples() {
  return {.title = "EXAMPLES",
          .lines =
              "A picture, what it cost, and what is left:\n"
              "  gpupool quote emoji --duration 8\n"
              "  gpupool generate \"a red heart\" --duration 8 -o heart.png\n"
              "  gpupool receipts --limit 1\n"
              "  gpupool quota\n"
              "A job that is left in the queue, and its result:\n"
              "  JOB=$(gpupool submit emoji prompt=\"a star\" --detach)\n"
              "  gpupool wait $JOB\n"
              "  gpupool result $JOB -o star.png\n"
              "A token for somebody else, of whoever has the pool's key:\n"
              "  gpupool token mint --config pool.toml --user ada --tier free > ada.token\n"
              "  gpupool quota --token-file ada.token\n"};
}

}  // namespace

ManualText client_manual() {
  return {.section = "1",
          .summary = "client and operator's program of a pool that lends GPUs by the second",
          .version = GPUPOOL_VERSION,
          .paragraphs = {"A pool lends the GPUs of one machine or several by the second. You say "
                         "how long a job may run; the pool checks that against your quota, queues "
                         "the job, runs it on a slot, and charges what it really used. A refusal "
                         "says what was asked for, what is left, what is held until when, and what "
                         "would be admitted now.",
                         "Commands that say (operators) need a token with the role of an operator. "
                         "Options of all commands may stand before or behind a command's name.",
                         answers_and_tokens},
          .common_footer = common_footer(),
          .exit_codes = exit_codes,
          .parts = {environment(), files(), examples()},
          .see_also = {"gpupoold(8)"}};
}

}  // namespace gpupool
