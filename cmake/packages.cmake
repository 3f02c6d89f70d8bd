# What is installed where, and the Debian packages made of it: `cpack` in the build folder, once it is
# built. gpupool (client), gpupoold (daemon, supervisor, executors, units), gpupoold-cuda (the CUDA
# executor and its appetite for libraries) and libgpupool-dev (the SDK).
include(GNUInstallDirs)
set(MULTIARCH lib)
if(CMAKE_LIBRARY_ARCHITECTURE)
  set(MULTIARCH lib/${CMAKE_LIBRARY_ARCHITECTURE})
endif()
set(PACKAGING ${CMAKE_SOURCE_DIR}/deploy/debian)
set(PACKAGE_FILES ${CMAKE_BINARY_DIR}/packaging)  # made here, by this file or as cpack starts
# cpack takes what is there: `all` has tests and benchmarks that nobody installs.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

# ---- Manual and completions ---------------------------------------------------------------------
# The programs print both from their own command lines. Compressed as Debian wants it, without a time.
file(MAKE_DIRECTORY ${PACKAGE_FILES}/completion)
function(gpupool_manual_page program section)
  set(page ${PACKAGE_FILES}/${program}.${section})
  add_custom_command(OUTPUT ${page}.gz
    COMMAND ${program} ${ARGN} > ${page}
    COMMAND gzip -9nf ${page}
    DEPENDS ${program} VERBATIM COMMENT "${program}(${section})")
endfunction()
gpupool_manual_page(gpupool 1 manual)
gpupool_manual_page(gpupoold 8 --manual)
set(COMPLETIONS)
foreach(shell_and_file "bash gpupool" "zsh _gpupool" "fish gpupool.fish")
  separate_arguments(shell_and_file)
  list(GET shell_and_file 0 shell)
  list(GET shell_and_file 1 file)
  add_custom_command(OUTPUT ${PACKAGE_FILES}/completion/${file}
    COMMAND gpupool manual --completion ${shell} > ${PACKAGE_FILES}/completion/${file}
    DEPENDS gpupool VERBATIM COMMENT "Completion for ${shell}")
  list(APPEND COMPLETIONS ${PACKAGE_FILES}/completion/${file})
endforeach()
add_custom_target(gpupool_manual ALL
  DEPENDS ${PACKAGE_FILES}/gpupool.1.gz ${PACKAGE_FILES}/gpupoold.8.gz ${COMPLETIONS})

# ---- gpupool -----------------------------------------------------------------------------------
install(TARGETS gpupool RUNTIME DESTINATION bin COMPONENT client)
install(FILES ${PACKAGE_FILES}/gpupool.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
  COMPONENT client)
install(FILES ${PACKAGE_FILES}/completion/gpupool DESTINATION share/bash-completion/completions
  COMPONENT client)
install(FILES ${PACKAGE_FILES}/completion/_gpupool DESTINATION share/zsh/vendor-completions
  COMPONENT client)
install(FILES ${PACKAGE_FILES}/completion/gpupool.fish DESTINATION share/fish/vendor_completions.d
  COMPONENT client)
install(FILES README.md docs/concepts.md docs/rest.md docs/user.md DESTINATION share/doc/gpupool
  COMPONENT client)
install(DIRECTORY docs/concepts DESTINATION share/doc/gpupool COMPONENT client)

# ---- gpupoold ----------------------------------------------------------------------------------
# The daemon finds its programs beside itself (/proc/self/exe), so all of them lie in one folder and
# the path has a link to the one that people call.
install(TARGETS gpupoold gpupool_supervisor gpupool_diffusion gpupool_command
  RUNTIME DESTINATION lib/gpupool COMPONENT daemon)
file(CREATE_LINK ../lib/gpupool/gpupoold ${PACKAGE_FILES}/gpupoold SYMBOLIC)
install(FILES ${PACKAGE_FILES}/gpupoold DESTINATION bin COMPONENT daemon)
install(FILES ${PACKAGE_FILES}/gpupoold.8.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man8
  COMPONENT daemon)
install(PROGRAMS deploy/broker-alive deploy/worker-config DESTINATION lib/gpupool COMPONENT daemon)
install(FILES deploy/systemd/gpupoold.service deploy/systemd/gpupoold-broker.service
    deploy/systemd/gpupoold-worker.service
  DESTINATION lib/systemd/system COMPONENT daemon)
install(FILES ${PACKAGING}/gpupoold.preset DESTINATION lib/systemd/system-preset
  RENAME 80-gpupoold.preset COMPONENT daemon)
install(FILES ${PACKAGING}/gpupoold.sysusers DESTINATION lib/sysusers.d RENAME gpupool.conf
  COMPONENT daemon)
install(FILES ${PACKAGING}/gpupoold.tmpfiles DESTINATION lib/tmpfiles.d RENAME gpupool.conf
  COMPONENT daemon)
install(FILES ${PACKAGING}/gpupool.toml DESTINATION /etc/gpupool COMPONENT daemon)
install(FILES models/emoji/config.json models/emoji/emoji-32.safetensors models/emoji/vocab.json
  DESTINATION share/gpupool/models/emoji COMPONENT daemon)
install(FILES models/emoji/LICENSES.md models/emoji/README.md
  DESTINATION share/doc/gpupoold/models/emoji COMPONENT daemon)
install(FILES config/gpupool.toml config/h200.toml deploy/examples/broker.toml
    deploy/examples/worker.toml deploy/slurm/gpupool-workers.sbatch
  DESTINATION share/doc/gpupoold/examples COMPONENT daemon)
install(DIRECTORY deploy/kubernetes DESTINATION share/doc/gpupoold/examples COMPONENT daemon)
install(FILES docs/configuration.md docs/operations.md DESTINATION share/doc/gpupoold
  COMPONENT daemon)
install(DIRECTORY docs/operations DESTINATION share/doc/gpupoold COMPONENT daemon OPTIONAL)

# ---- gpupoold-cuda -----------------------------------------------------------------------------
if(GPUPOOL_CUDA)
  install(TARGETS gpupool_diffusion_cuda RUNTIME DESTINATION lib/gpupool COMPONENT cuda)
endif()

# ---- libgpupool-dev ----------------------------------------------------------------------------
# One archive of all that a client can need: the whole of net/, and the parts of actors/ that its
# headers promise. Programs link what they use of it.
set(SDK_ARCHIVE ${PACKAGE_FILES}/libgpupool.a)
set(SDK_PARTS "/(describe|describe_refusal|learned|request_id)\\.cpp")
add_custom_command(OUTPUT ${SDK_ARCHIVE}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${SDK_ARCHIVE}
  COMMAND ${CMAKE_AR} qcD ${SDK_ARCHIVE} $<TARGET_OBJECTS:gpupool_net>
    $<FILTER:$<TARGET_OBJECTS:gpupool_cores>,INCLUDE,${SDK_PARTS}>
  COMMAND ${CMAKE_STRIP} --strip-debug --enable-deterministic-archives ${SDK_ARCHIVE}
  COMMAND ${CMAKE_RANLIB} -D ${SDK_ARCHIVE}
  DEPENDS gpupool_net gpupool_cores $<TARGET_OBJECTS:gpupool_net>
  COMMAND_EXPAND_LISTS VERBATIM COMMENT "The SDK's archive")
add_custom_target(gpupool_sdk ALL DEPENDS ${SDK_ARCHIVE})
install(FILES ${SDK_ARCHIVE} DESTINATION ${MULTIARCH} COMPONENT sdk)
set(SDK_INCLUDE include/gpupool)
foreach(header net/client.h net/curve.h actors/describe.h actors/messages.h actors/request_id.h
    base/amount.h base/clock.h base/ensure.h base/errors.def base/ids.h base/result.h base/shared.h
    base/time.h config/config.h config/jwks.h)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${SDK_INCLUDE}/${folder} COMPONENT sdk)
endforeach()
install(DIRECTORY actors/messages DESTINATION ${SDK_INCLUDE}/actors COMPONENT sdk
  FILES_MATCHING PATTERN "*.h")
include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/gpupool-config.cmake.in ${PACKAGE_FILES}/gpupool-config.cmake
  INSTALL_DESTINATION ${MULTIARCH}/cmake/gpupool PATH_VARS MULTIARCH SDK_INCLUDE
  INSTALL_PREFIX /usr NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PACKAGE_FILES}/gpupool-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PACKAGE_FILES}/gpupool-config.cmake ${PACKAGE_FILES}/gpupool-config-version.cmake
  DESTINATION ${MULTIARCH}/cmake/gpupool COMPONENT sdk)
install(FILES net/PROTOCOL.md DESTINATION share/doc/libgpupool-dev COMPONENT sdk)
install(DIRECTORY deploy/examples/client DESTINATION share/doc/libgpupool-dev/examples
  COMPONENT sdk)

# ---- The packages ------------------------------------------------------------------------------
set(COMPONENTS client daemon sdk)
set(PACKAGE_client gpupool)
set(PACKAGE_daemon gpupoold)
set(PACKAGE_cuda gpupoold-cuda)
set(PACKAGE_sdk libgpupool-dev)
if(GPUPOOL_CUDA)
  list(APPEND COMPONENTS cuda)
endif()
foreach(component ${COMPONENTS})
  install(FILES ${PACKAGING}/copyright ${PACKAGE_FILES}/changelog.gz
    DESTINATION share/doc/${PACKAGE_${component}} COMPONENT ${component})
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME gpupool)
set(CPACK_PACKAGE_VENDOR "The gpupool authors")
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ
  GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL ${COMPONENTS})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The gpupool authors <gpupool@packages.invalid>")
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_CLIENT_PACKAGE_NAME gpupool)
set(CPACK_DEBIAN_CLIENT_PACKAGE_SECTION science)
set(CPACK_DEBIAN_CLIENT_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_CLIENT_DESCRIPTION "client and operator's program of a pool of GPUs
gpupool lends the GPUs of one machine or several by the second. This is
what its users and its operators type: it submits jobs, shows quota,
receipts and queue, makes tokens, keys and certificates, and audits a
ledger.")

set(CPACK_DEBIAN_DAEMON_PACKAGE_NAME gpupoold)
set(CPACK_DEBIAN_DAEMON_PACKAGE_SECTION science)
set(CPACK_DEBIAN_DAEMON_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DAEMON_PACKAGE_PREDEPENDS "")
set(CPACK_DEBIAN_DAEMON_PACKAGE_RECOMMENDS "gpupool, bubblewrap")
set(CPACK_DEBIAN_DAEMON_PACKAGE_SUGGESTS "gpupoold-cuda, postgresql")
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA ${PACKAGING}/postinst ${PACKAGING}/prerm
  ${PACKAGING}/postrm ${PACKAGING}/conffiles)
set(CPACK_COMPONENT_DAEMON_DESCRIPTION "daemon that lends the GPUs of a machine by the second
The broker with its ledger, and the worker that runs jobs on a machine's
devices; the configuration says which of them a process is. With the
supervisor and the executor of CPU devices, units for systemd, and a
small picture model. It is neither enabled nor started by being
installed.")

set(CPACK_DEBIAN_CUDA_PACKAGE_NAME gpupoold-cuda)
set(CPACK_DEBIAN_CUDA_PACKAGE_SECTION contrib/science)
# NVIDIA's libraries are in no package of Debian, so dpkg-shlibdeps cannot know them; a test compares
# this list with what the program links (tests/deploy/test_packages.py).
set(CPACK_DEBIAN_CUDA_PACKAGE_SHLIBDEPS OFF)
set(CUDA_DEPENDS "libc6, libdnnl2, libgcc-s1, libgloo0, libpng16-16, libsodium23, libstdc++6")
set(CPACK_DEBIAN_CUDA_PACKAGE_RECOMMENDS "libcublas-13-0, libnccl2")
set(CPACK_COMPONENT_CUDA_DESCRIPTION "executor of gpupoold for NVIDIA GPUs
What gpupoold starts on a slot of a GPU. It needs the driver, cuBLASLt of
CUDA 13 and NCCL, which are NVIDIA's packages.")

set(CPACK_DEBIAN_SDK_PACKAGE_NAME libgpupool-dev)
set(CPACK_DEBIAN_SDK_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_SDK_PACKAGE_DEPENDS "libzmq3-dev, libsodium-dev, pkg-config | pkgconf")
set(CPACK_COMPONENT_SDK_DESCRIPTION "C++ SDK for clients of a gpupool
The static library behind net/client.h, its headers, and a package for
CMake: find_package(gpupool) and gpupool::client.")

# The version has the commit, which is looked up as cpack starts.
configure_file(cmake/package_version.cmake.in ${PACKAGE_FILES}/package_version.cmake @ONLY)
set(CPACK_PROJECT_CONFIG_FILE ${PACKAGE_FILES}/package_version.cmake)
include(CPack)
