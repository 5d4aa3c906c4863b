# Embeds kernels/opencl/*.cl as text and kernels/glsl/*.comp as SPIR-V into one generated C file.
# Sets LITEMAMBA_KERNELS_SOURCE.

file(GLOB LITEMAMBA_CL CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/opencl/*.cl)
file(GLOB LITEMAMBA_CL_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/opencl/*.h)
file(GLOB LITEMAMBA_COMP CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/glsl/*.comp)
file(GLOB LITEMAMBA_GLSL_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/glsl/*.glsl)
set(LITEMAMBA_PARAMS ${PROJECT_SOURCE_DIR}/kernels/params.h)

set(LITEMAMBA_SPV)
if(LITEMAMBA_VULKAN)
  find_program(GLSLANG_VALIDATOR glslangValidator REQUIRED)
  foreach(comp ${LITEMAMBA_COMP})
    get_filename_component(stem ${comp} NAME_WE)
    set(spv ${PROJECT_BINARY_DIR}/spirv/${stem}.spv)
    add_custom_command(OUTPUT ${spv}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/spirv
      COMMAND ${GLSLANG_VALIDATOR} --quiet -V --target-env vulkan1.1 -DLM_GLSL -I${PROJECT_SOURCE_DIR} ${comp} -o ${spv}
      DEPENDS ${comp} ${LITEMAMBA_GLSL_HEADERS} ${LITEMAMBA_PARAMS}
      COMMENT "glslang ${stem}.comp" VERBATIM)
    list(APPEND LITEMAMBA_SPV ${spv})
  endforeach()
endif()

set(LITEMAMBA_KERNELS_SOURCE ${PROJECT_BINARY_DIR}/embedded_kernels.c)
add_custom_command(OUTPUT ${LITEMAMBA_KERNELS_SOURCE}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${LITEMAMBA_KERNELS_SOURCE} -DROOT=${PROJECT_SOURCE_DIR}
    "-DCL=${LITEMAMBA_CL}" "-DSPV=${LITEMAMBA_SPV}" -P ${PROJECT_SOURCE_DIR}/cmake/EmbedKernels.cmake
  DEPENDS ${LITEMAMBA_CL} ${LITEMAMBA_CL_HEADERS} ${LITEMAMBA_PARAMS} ${LITEMAMBA_SPV}
    ${PROJECT_SOURCE_DIR}/cmake/EmbedKernels.cmake
  COMMENT "Embedding kernels" VERBATIM)
