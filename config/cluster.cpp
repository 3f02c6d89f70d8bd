#include "config/cluster.h"

#include <algorithm>

#include "config/limits.h"
#include "config/text_rules.h"

namespace gpupool {

// What a broker and its workers say to each other is only for them: certificates, or one machine.
void reject_open_address(Section& section, std::string_view key, const std::string& address,
                         const ClusterConfig& cluster) {
  if (!address.empty() && !is_loopback(address) && !cluster.has_tls())
    section.reject(key, "a loopback address, as [cluster] names no certificates (gpupool pki)",
                   "\"" + address + "\"");
}

void read_cluster(Section section, Config& config) {
  auto& cluster = config.cluster;
  section.path("ca_file", cluster.ca_file);
  section.path("certificate_file", cluster.certificate_file);
  section.path("key_file", cluster.key_file);
  const auto named = {!cluster.ca_file.empty(), !cluster.certificate_file.empty(),
                      !cluster.key_file.empty()};
  if (std::count(named.begin(), named.end(), true) % 3 != 0)
    section.reject(cluster.ca_file.empty()            ? "ca_file"
                   : cluster.certificate_file.empty() ? "certificate_file"
                                                      : "key_file",
                   "all three files, or none (gpupool pki)", "none");
  section.finish();
}

namespace {

// "a:7401,b:7401": one after the other.
std::vector<std::string> list_with_commas(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    std::string_view part = text.substr(start, end - start);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    parts.emplace_back(part);
    start = end + 1;
  }
  return parts;
}

}  // namespace

void read_broker_addresses(Section& section, Config& config) {
  std::string text;
  section.text("broker_address", text,
               {.expected = broker_address_rule.expected,
                .allows = [](std::string_view all) { return all.size() <= 1024; }});
  if (text.empty()) return;
  auto& addresses = config.worker.broker_addresses;
  addresses = list_with_commas(text);
  for (const std::string& address : addresses) {
    if (!broker_address_rule.allows(address))
      return section.reject("broker_address", broker_address_rule.expected, "\"" + text + "\"");
    reject_open_address(section, "broker_address", address, config.cluster);
  }
  if (std::ssize(addresses) > limits::brokers_max)
    section.reject("broker_address", "at most " + std::to_string(limits::brokers_max) + " brokers",
                   std::to_string(addresses.size()));
}

}  // namespace gpupool
