package org.reactorvfio.samples.nvme;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.file.StandardOpenOption.WRITE;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.FileReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.samples.nvme.NvmeController.Options;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** The driver on QEMU's NVMe controller. */
@Tag("lab")
@Timeout(180)
class NvmeDriverLabTest {
  private static PciAddress address() {
    return PciAddress.parse(Objects.requireNonNull(System.getenv("VFIO_LAB_NVME")));
  }

  /** What holds on the real kernel, through either interface. */
  abstract static class OnTheKernel extends NvmeContract {
    private final Backend backend;

    OnTheKernel(Backend backend) {
      this.backend = backend;
    }

    @Override
    protected Mono<VfioDevice> open() {
      Assumptions.assumeTrue(
          backend == Backend.GROUP || "iommufd".equals(System.getenv("VFIO_LAB_GUEST")),
          "this guest has no cdevs");
      return Vfio.open(address(), VfioOptions.defaults().withBackend(backend));
    }

    private Mono<List<Throwable>> failuresOfReads(List<DmaBuffer> buffers) {
      return Flux.fromIterable(buffers)
          .flatMap(
              buffer ->
                  nvme.read(0, buffer).then(Mono.<Throwable>empty()).onErrorResume(Mono::just),
              buffers.size())
          .collectList();
    }

    /** QEMU's disk does one request a second, so that most commands take too long. */
    @Test
    void abortsOrResetsWhatTakesTooLong() throws IOException {
      reopen(Options.of(1, 4).withTimeout(Duration.ofMillis(500)));
      List<DmaBuffer> buffers = buffers(4, PAGE);
      throttle(1);
      try {
        List<Throwable> failures = failuresOfReads(buffers).block(LIMIT);
        assertThat(failures)
            .isNotEmpty()
            .allMatch(
                e -> e instanceof NvmeException.TimedOut || e instanceof NvmeException.Aborted);
        assertThat(failures).anyMatch(e -> e instanceof NvmeException.TimedOut);
      } finally {
        throttle(0);
      }
      run(nvme.reset().then(nvme.read(0, buffers.get(0))));
    }

    @Test
    void endsEverythingWhenItsDriverIsUnbound() throws Exception {
      List<DmaBuffer> buffers = buffers(2 * DEPTH, PAGE);
      CompletableFuture<List<Throwable>> failures = Flux.fromIterable(buffers)
          .flatMap(
              buffer -> nvme.read(0, buffer)
                  .repeat()
                  .then(Mono.<Throwable>empty())
                  .onErrorResume(Mono::just),
              buffers.size())
          .collectList()
          .toFuture();
      CompletableFuture<Void> unbinding = CompletableFuture.runAsync(
          () -> sysfs("drivers/vfio-pci/unbind", address().toString()));
      try {
        run(device.onClose());
        unbinding.get(30, TimeUnit.SECONDS);
        // Each read was under way, or would have been the next.
        assertThat(failures.get(30, TimeUnit.SECONDS))
            .hasSize(2 * DEPTH)
            .allMatch(e -> e instanceof NvmeException.Aborted || e instanceof VfioException);
      } finally {
        sysfs("devices/" + address() + "/driver_override", "vfio-pci");
        sysfs("drivers_probe", address().toString());
      }
      device = open().block(LIMIT);
      nvme = NvmeController.open(device, Options.of(2, DEPTH)).block(LIMIT);
      run(nvme.read(0, buffer(PAGE)));
    }
  }

  private static void sysfs(String file, String value) {
    try {
      Files.writeString(Path.of("/sys/bus/pci", file), value);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Lets QEMU's disk do so many requests a second, 0 for as many as it can. */
  private static void throttle(int requests) throws IOException {
    String command = String.format(
        "{'execute': 'block_set_io_throttle', 'arguments': {'device': 'disk', 'bps': 0, 'bps_rd': 0, 'bps_wr': 0,"
            + " 'iops': %d, 'iops_rd': 0, 'iops_wr': 0}}%n",
        requests);
    String monitor = Objects.requireNonNull(System.getenv("VFIO_LAB_QMP"));
    try (BufferedReader answers = new BufferedReader(new FileReader(monitor, US_ASCII))) {
      Files.writeString(Path.of(monitor), command.replace('\'', '"'), WRITE);
      for (String line = ""; !line.contains("\"return\""); ) {
        line = Objects.requireNonNull(answers.readLine());
        assertThat(line).doesNotContain("\"error\"");
      }
    }
  }

  @Nested
  class OverGroup extends OnTheKernel {
    OverGroup() {
      super(Backend.GROUP);
    }
  }

  @Nested
  class OverIommufd extends OnTheKernel {
    OverIommufd() {
      super(Backend.IOMMUFD);
    }
  }
}
