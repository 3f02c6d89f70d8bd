#include "cli/certificates.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "actors/describe.h"

namespace gpupool {
namespace {

constexpr Duration warned_before = hours(30 * 24);

// A file in memory that nobody can change any more, and that no child inherits.
Result<FileDescriptor> sealed_copy(const char* name, const std::string& text) {
  FileDescriptor file{::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  constexpr int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (file.get() < 0 ||
      ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fcntl(file.get(), F_ADD_SEALS, seals) != 0)
    return Error{
        .code = Errc::system_failed,
        .want = errno,
        .detail = std::string("cannot keep certificates in memory: ") + std::strerror(errno)};
  return file;
}

std::string path_of(const FileDescriptor& file) {
  return "/proc/self/fd/" + std::to_string(file.get());
}

}  // namespace

Result<OwnCertificates> OwnCertificates::load(const ClusterConfig& cluster, Instant now) {
  OwnCertificates own;
  if (!cluster.has_tls()) return own;
  const auto files = read_membership(cluster);
  if (!files) return files.error();
  auto membership = check_membership(*files, cluster, now);
  if (!membership) return membership.error();
  own.membership_ = *std::move(membership);
  for (const std::string* text : {&files->ca, &files->certificate, &files->key}) {
    auto copy = sealed_copy("gpupool-certificates", *text);
    if (!copy) return copy.error();
    own.copies_.push_back(*std::move(copy));
  }
  own.files_ = {.ca_file = path_of(own.copies_[0]),
                .certificate_file = path_of(own.copies_[1]),
                .key_file = path_of(own.copies_[2])};
  return own;
}

std::optional<LogLine> OwnCertificates::word(Instant now) const {
  if (!files_.has_tls()) return {};
  const std::string warning = expiry_warning(membership_, now);
  if (warning.empty())
    return LogLine{.level = LogLevel::info,
                   .event = "certificates",
                   .text = "this machine is " + text_of(membership_, now)};
  const bool is_over = now >= membership_.until;
  return LogLine{.level = is_over ? LogLevel::error : LogLevel::warn,
                 .event = is_over ? "certificate_expired" : "certificate_expires",
                 .text = warning};
}

std::string text_of(const Membership& membership, Instant now) {
  return membership.certificate.name + ", a member of the pool by " + membership.authority +
         " until " + utc_text(membership.until) + " (" + days_text(membership.until - now) +
         " left)";
}

std::string expiry_warning(const Membership& membership, Instant now) {
  if (membership.until - now >= warned_before) return "";
  const bool is_authority = membership.authority_until - now < warned_before;
  const std::string which =
      is_authority ? "the pool's authority, " + membership.authority + ","
                   : "the certificate of this machine, " + membership.certificate.name + ",";
  const std::string when = now >= membership.until
                               ? " expired at " + utc_text(membership.until)
                               : " expires at " + utc_text(membership.until) + ", in " +
                                     days_text(membership.until - now);
  return which + when + "; from then on no connection to other nodes can be made; " +
         (is_authority ? "make a new authority: docs/operations.md, \"Certificates\""
                       : renewal_advice(membership.certificate));
}

LogLine log_line(const HandshakeNews& news) {
  const bool is_dialled = news.side == HandshakeNews::Side::dialled_there;
  if (news.kind == HandshakeNews::Kind::member)
    return {.level = LogLevel::info,
            .event = "connected",
            .text = (is_dialled ? "to " : "from ") + news.peer + ", by the name of " + news.words};
  if (is_dialled)
    return {.level = LogLevel::warn,
            .event = "connection_refused",
            .text = "no connection to " + news.peer + ": " + news.words +
                    "; gpupoold --check-config here and there tells whose certificate is wrong"};
  return {.level = LogLevel::warn,
          .event = "connection_refused",
          .text = news.peer + " was kept out: " + news.words +
                  "; only machines with a certificate of this pool's authority come in (gpupool "
                  "pki node NAME)"};
}

}  // namespace gpupool
