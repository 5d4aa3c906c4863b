# Embeds kernels as text (OpenCL C) and SPIR-V into generated C files.

# Kernels with a second form that reads buffers by their addresses (kernels/glsl/buffers.glsl). Others use its macros too, but not
# the form: on an H200 gemm takes 3 % longer so, and step_out 1 % less at d_model 768 and 6 % more at 2,560.
set(LITEMAMBA_ADDRESSED argmax conv_window embed gemv rmsnorm scan_ends scan_ends_long step_in step_scan)

# Writes ${output}, a C file with an array ${table} of lm_embedded_kernel (kernels/embedded.h): of each *.cl and *.comp in
# `cl_folder` and `glsl_folder`. What their headers are is in those folders and in kernels/.
function(litemamba_embed_kernels output table cl_folder glsl_folder)
  file(GLOB cl CONFIGURE_DEPENDS ${cl_folder}/*.cl)
  file(GLOB comps CONFIGURE_DEPENDS ${glsl_folder}/*.comp)
  file(GLOB cl_headers CONFIGURE_DEPENDS ${cl_folder}/*.h ${PROJECT_SOURCE_DIR}/kernels/opencl/*.h)
  file(GLOB glsl_headers CONFIGURE_DEPENDS ${glsl_folder}/*.h ${glsl_folder}/*.glsl ${PROJECT_SOURCE_DIR}/kernels/glsl/*.glsl)
  set(params ${PROJECT_SOURCE_DIR}/kernels/params.h)
  set(spvs)
  set(addressed)
  if(LITEMAMBA_VULKAN)
    find_program(GLSLANG_VALIDATOR glslangValidator REQUIRED)
    foreach(comp ${comps})
      get_filename_component(stem ${comp} NAME_WE)
      set(spv ${PROJECT_BINARY_DIR}/spirv/${stem}.spv)
      add_custom_command(OUTPUT ${spv}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/spirv
        COMMAND ${GLSLANG_VALIDATOR} --quiet -V --target-env vulkan1.1 -DLM_GLSL -I${PROJECT_SOURCE_DIR} ${comp} -o ${spv}
        DEPENDS ${comp} ${glsl_headers} ${params}
        COMMENT "glslang ${stem}.comp" VERBATIM)
      list(APPEND spvs ${spv})
      if(stem IN_LIST LITEMAMBA_ADDRESSED)
        set(spv ${PROJECT_BINARY_DIR}/spirv/addresses/${stem}.spv)
        add_custom_command(OUTPUT ${spv}
          COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/spirv/addresses
          COMMAND ${GLSLANG_VALIDATOR} --quiet -V --target-env vulkan1.1 -DLM_GLSL -DLM_ADDRESSES -I${PROJECT_SOURCE_DIR} ${comp}
            -o ${spv}
          DEPENDS ${comp} ${glsl_headers} ${params}
          COMMENT "glslang ${stem}.comp, by addresses" VERBATIM)
        list(APPEND addressed ${spv})
      endif()
    endforeach()
  endif()
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DTABLE=${table} -DROOT=${PROJECT_SOURCE_DIR}
      "-DCL=${cl}" "-DSPV=${spvs}" "-DADDRESSED=${addressed}" -P ${PROJECT_SOURCE_DIR}/cmake/EmbedKernels.cmake
    DEPENDS ${cl} ${cl_headers} ${params} ${spvs} ${addressed} ${PROJECT_SOURCE_DIR}/cmake/EmbedKernels.cmake
    COMMENT "Embedding ${table}" VERBATIM)
endfunction()

set(LITEMAMBA_KERNELS_SOURCE ${PROJECT_BINARY_DIR}/embedded_kernels.c)
litemamba_embed_kernels(${LITEMAMBA_KERNELS_SOURCE} lm_embedded_kernels ${PROJECT_SOURCE_DIR}/kernels/opencl
  ${PROJECT_SOURCE_DIR}/kernels/glsl)
