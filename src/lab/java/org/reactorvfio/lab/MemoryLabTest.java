package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Vectors;

/** A machine that runs out of memory while a device is in use. */
@Tag("lab")
@Timeout(120)
class MemoryLabTest {
  private static final String NVME = "VFIO_LAB_NVME";
  private static final int KILLED = 128 + 9;
  private static final Path HUGE_PAGES = Path.of("/sys/kernel/mm/transparent_hugepage/enabled");
  private static final Path OVERCOMMIT = Path.of("/proc/sys/vm/overcommit_memory");

  private VfioDevice device;

  @AfterEach
  void close() {
    if (device != null) {
      LabDevice.run(device.close());
    }
  }

  @Test
  void countsEverythingWhileTheMachineRunsOutOfMemory() throws Exception {
    long before = LabDevice.descriptors();
    device = LabDevice.open(NVME, LabDevice.preferred());
    Vectors msix = device.interrupts().msix();
    LabDevice.run(msix.enable(1));
    AtomicLong counted = new AtomicLong();
    CompletableFuture<Void> stream =
        msix.vector(0).doOnNext(i -> counted.addAndGet(i.count())).then().toFuture();
    long triggered = 0;
    long mapped = 0;
    // The hog takes more than there is, in large pages, which is quick; it is the one to be killed
    // for it.
    String pages = Files.readString(HUGE_PAGES).replaceFirst(".*\\[(.*)].*\\s*", "$1");
    String overcommit = Files.readString(OVERCOMMIT);
    Files.writeString(HUGE_PAGES, "always");
    Files.writeString(OVERCOMMIT, "1");
    Process hog = new ProcessBuilder(
            "sh",
            "-c",
            "echo 1000 >/proc/self/oom_score_adj; exec dd if=/dev/zero of=/dev/null bs=4G count=1"
                + " iflag=fullblock")
        .start();
    try {
      while (hog.isAlive()) {
        LabDevice.run(msix.trigger(0));
        triggered++;
        DmaBuffer buffer = LabDevice.get(device.dma().allocate(1 << 20));
        mapped++;
        LabDevice.run(buffer.free());
      }
    } finally {
      hog.destroyForcibly();
      Files.writeString(HUGE_PAGES, pages);
      Files.writeString(OVERCOMMIT, overcommit);
    }
    assertThat(hog.waitFor(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS)).isTrue();
    assertThat(hog.exitValue()).as("the kernel has ended it").isEqualTo(KILLED);
    assertThat(mapped).isPositive();
    LabDevice.run(device.close());
    stream.get(LabDevice.LONG.toSeconds(), TimeUnit.SECONDS);
    assertThat(counted).hasValue(triggered);
    assertThat(LabDevice.descriptors()).isEqualTo(before);
  }
}
