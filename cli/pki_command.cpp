#include "cli/pki_command.h"

#include <filesystem>

#include "actors/describe.h"
#include "base/clock.h"
#include "cli/output_file.h"
#include "cli/say.h"
#include "config/small_file.h"
#include "config/text_rules.h"
#include "net/certificate.h"
#include "net/certificate_authority.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t pem_bytes_max = 64 * 1024;

// The two files of one certified key.
struct Files {
  fs::path certificate;
  fs::path key;

  Files(const fs::path& folder, const std::string& name)
      : certificate(folder / (name + ".certificate")), key(folder / (name + ".key")) {}
  const fs::path* first_there() const {
    std::error_code ignored;
    if (fs::exists(certificate, ignored)) return &certificate;
    return fs::exists(key, ignored) ? &key : nullptr;
  }
};

Files authority_in(const fs::path& folder) { return {folder, "ca"}; }

Error usage(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

// A folder that is made here is its owner's alone.
Status make_folder(const fs::path& folder) {
  std::error_code problem;
  if (fs::is_directory(folder, problem)) return ok();
  if (fs::create_directories(folder, problem))
    fs::permissions(folder, fs::perms::owner_all, problem);
  if (!problem) return ok();
  return Error{.code = Errc::file_unwritable, .detail = folder.string() + ": " + problem.message()};
}

// The key first: a certificate without one would look finished.
Status write_new(const Files& files, const CertifiedKey& made) {
  if (const Status written = write_secret(files.key, made.key); !written) return written;
  return write_whole(files.certificate, made.certificate);
}

Status replace(const Files& files, const CertifiedKey& made) {
  const fs::path beside = files.key.string() + ".new";
  std::error_code problem;
  fs::remove(beside, problem);
  if (const Status written = write_secret(beside, made.key); !written) return written;
  fs::rename(beside, files.key, problem);
  if (problem)
    return Error{.code = Errc::file_unwritable,
                 .detail = files.key.string() + ": " + problem.message()};
  return write_whole(files.certificate, made.certificate);
}

Result<CertifiedKey> read_authority(const PkiOptions& options) {
  const Files files = authority_in(options.folder);
  auto certificate = read_small_file(files.certificate, pem_bytes_max);
  if (!certificate)
    return usage(certificate.error().detail + "; gpupool pki init --dir " + options.folder +
                 " makes an authority, --dir names its folder");
  auto key = read_owners_file(files.key, pem_bytes_max);
  if (!key) return usage(key.error().detail);
  return CertifiedKey{.certificate = *std::move(certificate), .key = *std::move(key) + "\n"};
}

Json json_of(const CertificateFacts& facts, Instant now) {
  return {{"subject", facts.subject},
          {"name", facts.name},
          {"issuer", facts.issuer},
          {"is_authority", facts.is_authority},
          {"valid_from", utc_text(facts.valid_from)},
          {"valid_until", utc_text(facts.valid_until)},
          {"left_ms", (facts.valid_until - now).ms},
          {"addresses", facts.addresses},
          {"fingerprint", facts.fingerprint}};
}

std::string validity_text(const CertificateFacts& facts, Instant now) {
  if (now < facts.valid_from) return "not valid yet";
  if (now >= facts.valid_until) return "expired";
  return days_text(facts.valid_until - now) + " left";
}

Status check_node_wish(const PkiOptions& options, const Files& files) {
  if (!is_name(options.node))
    return usage("\"" + options.node + "\": expected " + std::string(name_rule.expected));
  if (options.node == "ca")
    return usage("\"ca\" is the name of the authority's own files; choose another");
  const fs::path* there = files.first_there();
  if (there != nullptr && !options.renew)
    return usage(there->string() + ": there is such a file already; --renew replaces it");
  if (there == nullptr && options.renew)
    return usage(files.certificate.string() + ": there is none to renew; leave out --renew");
  return ok();
}

// A renewed certificate keeps the addresses of the old one.
std::vector<std::string> addresses_for(const PkiOptions& options, const Files& files) {
  if (!options.renew || !options.addresses.empty()) return options.addresses;
  const auto text = read_small_file(files.certificate, pem_bytes_max);
  const auto old = text ? read_certificate(*text) : Result<CertificateFacts>(text.error());
  if (!old) return {};
  std::vector<std::string> addresses = old->addresses;
  std::erase(addresses, options.node);
  return addresses;
}

Result<CertifiedKey> make(const PkiOptions& options, const Files& files, Instant now) {
  if (const Status good = check_node_wish(options, files); !good) return good.error();
  const auto authority = read_authority(options);
  if (!authority) return authority.error();
  const auto facts = read_certificate(authority->certificate);
  if (facts && facts->valid_until <= now)
    return usage("the authority in " + options.folder + " expired at " +
                 utc_text(facts->valid_until) +
                 "; make a new one in another folder (docs/operations.md, \"Certificates\")");
  auto made = make_node({.name = options.node,
                         .addresses = addresses_for(options, files),
                         .now = now,
                         .days = options.node_days},
                        *authority);
  if (!made) return usage(made.error().detail);
  const Status written = options.renew ? replace(files, *made) : write_new(files, *made);
  if (!written) return written.error();
  return made;
}

// What stands on standard output can be put into the configuration as it is.
std::string node_text(const PkiOptions& options, const Files& files, const CertificateFacts& facts,
                      Instant now) {
  const auto name_of_file = [](const fs::path& file) { return file.filename().string(); };
  const Files authority = authority_in(options.folder);
  return "# " + facts.name + " is a member of the pool until " + utc_text(facts.valid_until) +
         ", " + days_text(facts.valid_until - now) + " from now.\n" +
         "# Copy to this machine, over a way that you trust, beside its configuration:\n#   " +
         authority.certificate.string() + "\n#   " + files.certificate.string() + "\n#   " +
         files.key.string() + "   secret: chmod 600, and gpupoold's user its owner\n# Never copy " +
         authority.key.string() + ": whoever has it makes members.\n" +
         (options.renew ? "# Then start gpupoold there again.\n"
                        : "# Add to its configuration:\n") +
         "[cluster]\nca_file = \"" + name_of_file(authority.certificate) +
         "\"\ncertificate_file = \"" + name_of_file(files.certificate) + "\"\nkey_file = \"" +
         name_of_file(files.key) + "\"\n";
}

}  // namespace

ExitCode make_pool_authority(const Connection& connection, const PkiOptions& options) {
  const Files files = authority_in(options.folder);
  if (!is_name(options.pool))
    return say_usage_error(
        connection, usage("\"" + options.pool + "\": expected " + std::string(name_rule.expected)));
  if (const fs::path* there = files.first_there())
    return say_usage_error(
        connection,
        usage(there->string() + ": there is an authority already, whose certificates would be "
                                "worth nothing; name another --dir"));
  const Instant now = wall_time();
  const auto made =
      make_authority({.pool = options.pool, .now = now, .days = options.authority_days});
  if (!made) return say_error(connection, made.error());
  if (const Status made_folder = make_folder(options.folder); !made_folder)
    return say_usage_error(connection, made_folder.error());
  if (const Status written = write_new(files, *made); !written)
    return say_usage_error(connection, written.error());
  const auto facts = read_certificate(made->certificate);
  if (!facts) return say_error(connection, facts.error());
  if (connection.json) {
    Json json{{"ca_file", files.certificate.string()}, {"ca_key_file", files.key.string()}};
    json.update(json_of(*facts, now));
    print(text_of(json));
    return ExitCode::done;
  }
  print(files.certificate.string() + "   the authority of pool " + options.pool + " until " +
        utc_text(facts->valid_until) + ": for every machine of the pool\n" + files.key.string() +
        "           its secret key: keep it here, and a copy of it offline\nnext: gpupool pki "
        "node NAME --dir " +
        options.folder + ", for each machine\n");
  return ExitCode::done;
}

ExitCode make_node_certificate(const Connection& connection, const PkiOptions& options) {
  const Files files(options.folder, options.node);
  const Instant now = wall_time();
  const auto made = make(options, files, now);
  if (!made)
    return made.error().code == Errc::unsupported ? say_error(connection, made.error())
                                                  : say_usage_error(connection, made.error());
  const auto facts = read_certificate(made->certificate);
  if (!facts) return say_error(connection, facts.error());
  if (!connection.json) {
    print(node_text(options, files, *facts, now));
    return ExitCode::done;
  }
  Json json{{"ca_file", authority_in(options.folder).certificate.string()},
            {"certificate_file", files.certificate.string()},
            {"key_file", files.key.string()}};
  json.update(json_of(*facts, now));
  print(text_of(json));
  return ExitCode::done;
}

ExitCode show_certificate(const Connection& connection, const PkiOptions& options) {
  const auto text = read_small_file(options.file, pem_bytes_max);
  if (!text) return say_usage_error(connection, text.error());
  const auto facts = read_certificate(*text);
  if (!facts) {
    const bool is_key = text->find("PRIVATE KEY-----") != std::string::npos;
    return say_usage_error(connection,
                           usage(options.file + (is_key ? ": is a secret key; name the certificate"
                                                        : ": " + facts.error().detail)));
  }
  const Instant now = wall_time();
  if (connection.json) {
    print(text_of(json_of(*facts, now)));
    return ExitCode::done;
  }
  std::string addresses;
  for (const auto& one : facts->addresses) addresses += (addresses.empty() ? "" : ", ") + one;
  const std::string kind = facts->is_authority ? "a pool's authority" : "a machine of a pool";
  print("subject      " + facts->subject + "   (" + kind + ")\nissuer       " + facts->issuer +
        "\nvalid from   " + utc_text(facts->valid_from) + "\nvalid until  " +
        utc_text(facts->valid_until) + ", " + validity_text(*facts, now) +
        (addresses.empty() ? "" : "\naddresses    " + addresses) + "\nfingerprint  " +
        facts->fingerprint + "   (SHA-256)\n");
  return ExitCode::done;
}

}  // namespace gpupool
