#include "cli/keys_command.h"

#include <sodium.h>

#include <array>
#include <filesystem>

#include "cli/output_file.h"
#include "cli/say.h"
#include "net/curve.h"
#include "net/token.h"

namespace gpupool {
namespace {

constexpr std::size_t secret_bytes = 32;  // of HS256, and the seed of Ed25519

std::string random_bytes() {
  std::string bytes;
  while (bytes.size() < secret_bytes) {
    const std::uint64_t drawn = draw_random();
    bytes.append(reinterpret_cast<const char*>(&drawn), sizeof drawn);
  }
  return bytes;
}

std::string hex_of(const std::string& bytes) {
  std::string text(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                 bytes.size());
  text.pop_back();
  return text;
}

// The two files of one pair; a key without a public half has one. Neither is there yet.
struct Files {
  std::filesystem::path secret;
  std::filesystem::path open;

  explicit Files(const std::string& name) : secret(name + ".secret"), open(name + ".public") {}
};

Status write_pair(const Files& files, const std::string& secret, const std::string& open) {
  std::error_code ignored;
  if (!open.empty() && std::filesystem::exists(files.open, ignored))
    return Error{.code = Errc::file_unwritable,
                 .detail = files.open.string() + ": there is such a file already; name another"};
  if (const Status written = write_secret(files.secret, secret + "\n"); !written) return written;
  return open.empty() ? ok() : write_whole(files.open, open + "\n");
}

Status say_unwritten(const Connection& connection, const Status& written) {
  if (!written) say_usage_error(connection, written.error());
  return written;
}

}  // namespace

ExitCode make_token_key(const Connection& connection, const KeygenOptions& options) {
  const Files files(options.out);
  const bool pair = options.algorithm == "EdDSA";
  const std::string secret = random_bytes();
  const std::string open = pair ? hex_of(ed25519_public_key(secret)) : "";
  if (!say_unwritten(connection, write_pair(files, hex_of(secret), open))) return ExitCode::usage;
  const std::string kid = files.secret.stem().string();
  if (connection.json) {
    print(text_of({{"kid", kid},
                   {"algorithm", options.algorithm},
                   {"secret_file", files.secret.string()},
                   {"public_key_file", pair ? Json(files.open.string()) : Json(nullptr)}}));
    return ExitCode::done;
  }
  print("[[identity.keys]]\nkid = \"" + kid + "\"\nalgorithm = \"" + options.algorithm + "\"\n" +
        (pair ? "public_key_file = \"" + files.open.string() + "\"\n" : "") + "secret_file = \"" +
        files.secret.string() + "\"" + (pair ? "  # only where tokens are minted" : "") + "\n");
  return ExitCode::done;
}

ExitCode make_curve_key(const Connection& connection, const std::string& out) {
  const Result<CurvePair> pair = make_curve_pair();
  if (!pair) return say_error(connection, pair.error());
  const Files files(out);
  if (!say_unwritten(connection, write_pair(files, pair->secret_key, pair->public_key)))
    return ExitCode::usage;
  if (connection.json) {
    print(text_of({{"curve_secret_file", files.secret.string()},
                   {"public_key_file", files.open.string()},
                   {"server_key", pair->public_key}}));
    return ExitCode::done;
  }
  print("for the pool, in [broker]:  curve_secret_file = \"" + files.secret.string() +
        "\"\nfor clients:  --server-key @" + files.open.string() + "  or  GPUPOOL_SERVER_KEY='" +
        pair->public_key + "'\n");
  return ExitCode::done;
}

}  // namespace gpupool
