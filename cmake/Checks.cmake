# CTest's tests: the Criterion binary, and check_* for what is built rather than what it computes.

# Unless tests/CMakeLists.txt splits the binary up. 77: everything in it was skipped.
get_property(tests DIRECTORY tests PROPERTY TESTS)
if(NOT tests)
  add_test(NAME litemamba_tests COMMAND litemamba_tests)
  set_tests_properties(litemamba_tests PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 3600)
endif()

set(LITEMAMBA_TOOLS ${PROJECT_SOURCE_DIR}/tools)

# Only lm_* is exported.
add_test(NAME check_exports COMMAND ${LITEMAMBA_TOOLS}/check-exports.sh $<TARGET_FILE:litemamba>)
# Each public header compiles alone, without extensions, as C and as C++.
add_test(NAME check_headers COMMAND ${LITEMAMBA_TOOLS}/check-headers.sh ${PROJECT_SOURCE_DIR}/include ${CMAKE_C_COMPILER})
# The README's program is examples/hello.c.
add_test(NAME check_readme COMMAND ${LITEMAMBA_TOOLS}/check-readme.sh ${PROJECT_SOURCE_DIR})

if(TARGET litemamba_cli)
  add_test(NAME check_cli COMMAND ${LITEMAMBA_TOOLS}/check-cli.sh $<TARGET_FILE:litemamba_cli> ${PROJECT_SOURCE_DIR}/models)
endif()
if(TARGET example_hello)
  add_test(NAME check_examples COMMAND ${LITEMAMBA_TOOLS}/check-examples.sh $<TARGET_FILE_DIR:example_hello>
    ${PROJECT_SOURCE_DIR}/models)
endif()
if(LITEMAMBA_BENCH)
  add_test(NAME check_bench COMMAND ${LITEMAMBA_TOOLS}/check-bench.sh ${PROJECT_BINARY_DIR}/bench/litemamba_bench)
endif()
# Installs into a temporary folder and builds an example against that with pkg-config.
if(NOT LITEMAMBA_SANITIZE)
  add_test(NAME check_install COMMAND ${LITEMAMBA_TOOLS}/check-install.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}
    ${CMAKE_C_COMPILER} ${CMAKE_INSTALL_PREFIX})
endif()

get_property(tests DIRECTORY PROPERTY TESTS)
foreach(test ${tests})
  if(test MATCHES "^check_")
    set_tests_properties(${test} PROPERTIES TIMEOUT 300)
  endif()
endforeach()
