#pragma once
// The configuration of one gpupoold process and of the pool that it serves, as plain structs with
// their defaults; the units are in the types or names. Filled and checked by config/load.h; nothing
// here changes while the process runs. config/gpupool.toml documents every key.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/amount.h"
#include "base/result.h"
#include "base/time.h"
#include "config/jwks.h"

namespace gpupool {

struct TierConfig {
  std::string name;
  GpuTime allowance{};         // quota per window
  GpuTime longest{};           // longest cost of one request
  std::uint32_t rank = 0;      // order in the queue among equal durations, highest first
  std::uint32_t jobs_max = 4;  // admitted jobs (queued or running) of one account
};

struct SizeConfig {
  std::string name;
  std::uint32_t slots = 1;
  std::uint32_t factor = 1;
};

enum class ExecutorKind : std::uint8_t { diffusion = 1, noop = 2, command = 3, external = 4 };
// How the slots of a bigger job may lie: on different devices of one node, on one device, or on
// different devices of as few nodes as can be.
enum class Spread : std::uint8_t { devices = 1, device = 2, nodes = 3 };

// What a request may give a command app, by name. A request that leaves out one with a default gets
// that; the others it has to give.
enum class ParameterKind : std::uint8_t { text = 1, integer = 2, number = 3, boolean = 4 };

struct ParameterConfig {
  std::string name;
  ParameterKind kind = ParameterKind::text;
  bool has_default = false;
  std::string default_value;         // as a request would write it
  std::uint32_t bytes_max = 1000;    // text
  std::string pattern;               // text: POSIX extended, of the whole of it; empty: any
  std::vector<std::string> choices;  // text: one of these; empty: any
  std::int64_t least = 0;            // integer
  std::int64_t most = 0;
  double low = 0;  // number
  double high = 0;
  std::string about;  // one line for people
};

// A variable of a run's environment whose value stands in a file that only its owner may read.
struct SecretConfig {
  std::string name;
  std::string value;  // empty: it is still to be set, and the app runs nothing until it is
};

enum class SandboxKind : std::uint8_t { bubblewrap = 1, none = 2 };

// What runs for a command app, and what it may see and use of its node.
struct CommandConfig {
  std::vector<std::string> words;  // with {parameter}; empty: the request brings its own
  std::vector<ParameterConfig> parameters;
  std::vector<std::string> environment;  // "NAME=value"
  std::vector<SecretConfig> secrets;
  SandboxKind sandbox = SandboxKind::bubblewrap;
  bool network = false;
  std::vector<std::string> read_only;                                    // folders that it sees too
  std::int64_t memory_max_bytes = std::int64_t{8} * 1024 * 1024 * 1024;  // 0: not limited
  std::int64_t scratch_bytes = std::int64_t{1} * 1024 * 1024 * 1024;     // all that it writes
  std::uint32_t processes_max = 256;
  std::uint32_t retries = 0;  // how often a run that began may run again, by the pool's fault

  bool is_any() const { return words.empty(); }
};

struct AppConfig {
  std::string name;
  ExecutorKind executor = ExecutorKind::diffusion;
  std::string partition = "default";
  std::string size = "large";  // of a request that names none
  Spread spread = Spread::devices;
  Duration default_duration = seconds(60);
  Duration longest = seconds(300);
  Duration start_limit = seconds(30);  // from lease to running: process start, model load
  Duration stall = seconds(10);        // no step for so long: the executor hangs
  std::string model;                   // diffusion: folder of the weights
  std::vector<std::string> tiers;      // who may use it; empty: everybody
  bool automatic = false;  // duration = "auto": a request that declares none holds what runs took
  std::int64_t memory_bytes = 0;  // what its executor takes of a slot's memory; 0: not known
  CommandConfig command;          // of executor = "command"
  std::uint32_t concurrency = 0;  // jobs at once: the slots of its own partition; 0: no limit
};

enum class DeviceKind : std::uint8_t { cpu = 1, cuda = 2 };
enum class Precision : std::uint8_t { f32 = 1, bf16 = 2 };  // of weights and activations

struct DeviceConfig {
  DeviceKind kind = DeviceKind::cpu;
  std::uint32_t threads = 1;  // cpu
  std::uint32_t slots = 1;
  std::string partition = "default";  // of its slots
  std::vector<std::uint32_t> cores;   // cpu: one for each thread; empty: wherever they are put
  std::string device;  // cuda: its number by PCI bus, or the UUID of a GPU or of a MIG slice
  Precision precision = Precision::f32;
  std::int64_t memory_bytes = 0;  // for executors that stay warm, shared by slots; 0: one a slot
  std::uint32_t temperature_max = 90;  // cuda: degrees Celsius, for longer than overheat

  std::int64_t slot_memory() const { return memory_bytes / std::max(slots, 1U); }
};

// Slots that leave their partition for some users alone: for a time, or, without an end, for good
// (dedicated slots). It is a partition of its own, whose queue only they can be in.
struct ReservationConfig {
  std::string name;  // no partition's
  std::string partition = "default";
  std::uint32_t slots = 1;
  std::vector<std::string> users;
  Instant from{};                    // 0: at once
  Instant until = Instant::never();  // never(): for good
};

struct KeyConfig {
  std::string kid;
  std::string algorithm = "HS256";  // or "EdDSA" (Ed25519)
  std::string secret;  // HS256: the secret; EdDSA: the 32-byte seed, only where tokens are minted
  std::string public_key;  // EdDSA: 32 bytes
};

// Users whose claim has this value are of this tier.
struct IssuerTier {
  std::string value;
  std::string tier;
};

// Somebody else who says who users are (OpenID Connect Core 1.0). Their accounts carry its name, so
// that they are nobody else's: "ada" becomes user:ada@NAME. It makes nobody an operator.
struct IssuerConfig {
  std::string name;
  std::string issuer;              // its tokens' "iss", to the letter
  std::string audience;            // and their "aud": as what it knows this pool
  std::vector<IssuerKey> keys;     // of jwks_file
  std::string user_claim = "sub";  // which claim is the user's name
  std::string tier_claim;          // a text or a list of texts; empty: all have the default tier
  std::vector<IssuerTier> tiers;   // the first whose value the claim has
};

struct IdentityConfig {
  std::vector<KeyConfig> keys;
  std::vector<IssuerConfig> issuers;
  std::string audience = "gpupool";
  bool anonymous = true;  // callers without a token are recognised by network address
  std::string anonymous_tier = "anonymous";
  std::string default_tier = "free";  // of a token that names none
};

// How often one may ask: `burst` at once, and as many again as time gives back. per_s 0: at will.
struct RateConfig {
  std::uint32_t per_s = 0;
  std::uint32_t burst = 1;
  friend bool operator==(const RateConfig&, const RateConfig&) = default;
};

struct RatesConfig {
  RateConfig account{.per_s = 100, .burst = 1'000};  // what it asks, on all its connections
  RateConfig address{.per_s = 50, .burst = 500};     // its connections' greetings
};

// Users who share the credits of account "group:NAME", e.g. for the time of a workshop: what their
// quota does not pay is taken from there, before their own credits.
struct GroupConfig {
  std::string name;
  std::vector<std::string> users;    // "*@NAME": all users of that issuer
  Instant from{};                    // 0: at once
  Instant until = Instant::never();  // never(): for good

  std::string account() const { return "group:" + name; }
  bool is_on(Instant now) const { return from <= now && now < until; }
  // Whether the account, "user:ada", is one of its users'.
  bool has(std::string_view account) const;
};

enum class WindowKind : std::uint8_t { rolling = 1, fixed = 2 };

struct WindowConfig {
  WindowKind kind = WindowKind::rolling;  // from the account's first hold, or in the calendar
  Duration length = hours(24);            // fixed: divides a day or is a number of days
  Duration starts{};                      // fixed: since midnight UTC
};

struct BrokerConfig {
  std::string client_endpoint = "tcp://127.0.0.1:7400";
  std::string worker_address;  // "127.0.0.1:7401": where worker processes dial in; empty: none
  std::string curve_secret;    // Z85, 40 characters, from curve_secret_file; empty: not encrypted
  std::string ready_file;      // the bound endpoints, and "state = ready" once it is; empty: none
  std::uint32_t queue_max = 100'000;
  Duration client_grace = seconds(30);      // a queued job whose client is gone
  Duration rejoin_grace = seconds(5);       // after a restart, for workers to report what they run
  Duration heartbeat_suspect = seconds(3);  // a node not heard of for so long gets no new leases
  Duration heartbeat_loss = seconds(5);     // and for so long, is lost
};

// How the machines of a pool know each other: certificates that its own authority has signed. All
// three or none; without them broker and workers talk inside one machine only.
struct ClusterConfig {
  std::string ca_file;           // the authority's certificate
  std::string certificate_file;  // this machine's
  std::string key_file;          // its secret
  bool has_tls() const { return !certificate_file.empty(); }
};

enum class JournalKind : std::uint8_t { sqlite = 1, postgres = 2 };

struct LedgerConfig {
  JournalKind journal = JournalKind::sqlite;
  std::string path = "gpupool.sqlite";
  std::int64_t reserve_bytes = 16 * 1024 * 1024;  // kept back on its disk for settles
  std::uint32_t snapshot_records = 1'000'000;     // between snapshots; 0: none are kept
  std::string postgres;           // where the server is, as libpq says it; without a password
  std::string postgres_password;  // from postgres_password_file; empty: libpq finds one, or none
  std::string postgres_schema = "gpupool";
  bool accept_clock = false;  // gpupoold --accept-clock: take a wall clock that jumped
};

struct WorkerConfig {
  std::string name = "node-1";
  // Of brokers in other processes, of which one leads; empty: the broker in this process.
  std::vector<std::string> broker_addresses;
  std::string rank_address;  // where ranks on other nodes reach those here; empty: found out
  std::string folder = "gpupool-worker";  // results and the children's files
  std::vector<DeviceConfig> devices{DeviceConfig{}, DeviceConfig{}};
  Duration kill_grace = seconds(2);  // from SIGTERM at the declared end to SIGKILL
  Duration slot_check = seconds(5);  // the longest check of a slot before it is lent again
  Duration heartbeat_interval = milliseconds(500);
  Duration heartbeat_stale = seconds(2);  // a lease that echoes an older heartbeat is refused
  Duration result_keep = hours(24);
  std::int64_t result_bytes_max = std::int64_t{4} * 1024 * 1024 * 1024;
  Duration health_interval = seconds(5);  // between two looks at the GPUs
  Duration overheat = seconds(30);        // too hot for so long: its slots get no jobs
  std::string run_as = "nobody";          // who commands run as, where this process runs as root
};

// How the process behaves towards the system that runs it.
struct DaemonConfig {
  std::string pid_file;                // empty: none
  Duration drain_limit = seconds(30);  // SIGTERM: how long running jobs may go on
};

// Where the device API of this node listens; programs of callers on this machine, and their
// containers, use it.
struct HttpConfig {
  std::string endpoint;  // "127.0.0.1:7480"; empty: none
  bool is_on() const { return !endpoint.empty(); }
};

// Where the broker's process serves the page, REST and metrics.
struct WebConfig {
  std::string endpoint;              // "127.0.0.1:7490"; empty: none
  bool metrics = true;               // at /metrics, for whoever reaches it
  std::vector<std::string> proxies;  // addresses whose X-Forwarded-For is believed
  bool is_on() const { return !endpoint.empty(); }
};

// A program of this machine that lends slots to its visitors through the device API.
struct SpaceConfig {
  std::string name;
  std::string prefix;  // of its paths, which proves who it is: "/s/8f3a..."
  std::string app;
  std::string cgroup;  // that its processes are in, or below; empty: any
  std::string user;    // that they belong to, by name; empty: whoever calls
};

struct LogConfig {
  std::string level = "info";
  bool json = false;
};

struct Config {
  std::string pool = "gpupool";
  bool broker_role = true;
  bool worker_role = true;
  BrokerConfig broker;
  ClusterConfig cluster;
  LedgerConfig ledger;
  WorkerConfig worker;
  IdentityConfig identity;
  RatesConfig rates;
  WindowConfig window;
  DaemonConfig daemon;
  HttpConfig http;
  WebConfig web;
  LogConfig log;
  std::vector<TierConfig> tiers;
  std::vector<SizeConfig> sizes;
  std::vector<AppConfig> apps;
  std::vector<ReservationConfig> reservations;
  std::vector<GroupConfig> groups;
  std::vector<SpaceConfig> spaces;

  const TierConfig* tier(const std::string& name) const;
  const SizeConfig* size(const std::string& name) const;
  const AppConfig* app(const std::string& name) const;
};

// The pool's defaults: the tiers of design section 2.1, sizes large and xlarge, and the app
// "emoji".
Config default_config();

// The files of the ledger's history and of its last snapshot, beside the ledger.
std::string history_path(const Config& config);
std::string snapshot_path(const Config& config);

// The longest time that a job of `app` declared for `declared` can occupy its slots: its enforced
// end, the start limit, the kill grace and the slot check (design section 1).
Duration occupancy_of(const Config& config, const AppConfig& app, Duration declared);

struct HostAndPort {
  std::string host;
  std::uint16_t port = 0;  // 0: any free one, where it is listened on
};

// The words of a kind and of a precision in a configuration, and in an executor's arguments.
std::string_view word_of(ExecutorKind kind);
std::string_view word_of(DeviceKind kind);
std::string_view word_of(Precision precision);

// "127.0.0.1:7401", "[::1]:7401" or "node-1:7401"; config_invalid otherwise.
Result<HostAndPort> parse_address(const std::string& text);

}  // namespace gpupool
