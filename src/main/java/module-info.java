/** A reactive bridge to Linux VFIO: interrupts as {@code Flux}, device operations as {@code Mono}. */
module org.reactorvfio {
  requires transitive reactor.core;
  requires transitive org.reactivestreams;
  requires com.sun.jna;
  requires static transitive org.jspecify;
  requires static reactor.blockhound;
  requires static jdk.jfr;

  // The package micrometer alone.
  requires static micrometer.core;
  requires static micrometer.observation;
  requires static micrometer.commons;

  // The bridge alone.
  requires static com.fasterxml.jackson.core;
  requires static io.netty.buffer;
  requires static io.netty.codec;
  requires static io.netty.codec.http;
  requires static io.netty.common;
  requires static io.netty.handler;
  requires static io.netty.transport;
  requires static io.netty.transport.unix.common;
  requires static reactor.netty.core;
  requires static reactor.netty.http;

  exports org.reactorvfio;
  exports org.reactorvfio.bridge;
  exports org.reactorvfio.diagnostics;
  exports org.reactorvfio.discovery;
  exports org.reactorvfio.dma;
  exports org.reactorvfio.emulation;
  exports org.reactorvfio.irq;
  exports org.reactorvfio.micrometer;
  exports org.reactorvfio.migration;
  exports org.reactorvfio.operations;
  exports org.reactorvfio.power;
  exports org.reactorvfio.region;
  exports org.reactorvfio.vendor;
  exports org.reactorvfio.vendor.mlx5;
  exports org.reactorvfio.vendor.igd;
  exports org.reactorvfio.vendor.nvgrace;
  exports org.reactorvfio.vendor.nvlink2;
  exports org.reactorvfio.vendor.virtio;
  exports org.reactorvfio.vendor.zdev;

  uses org.reactorvfio.vendor.VendorOperator;

  // Those that need nothing but the device; the others are named, with what they need.
  provides org.reactorvfio.vendor.VendorOperator with
      org.reactorvfio.vendor.igd.IgdOperator,
      org.reactorvfio.vendor.nvlink2.NvLink2Operator,
      org.reactorvfio.vendor.zdev.ZdevOperator;
}
