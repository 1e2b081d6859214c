package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.reactorvfio.operations.MigrationState.*;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.MigrationFailedException;
import org.reactorvfio.MigrationStateException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.migration.MemoryCopier;
import org.reactorvfio.migration.Migration;
import org.reactorvfio.migration.MigrationOptions;
import org.reactorvfio.migration.MigrationProgress;
import org.reactorvfio.operations.DirtyPages;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.MigrationData;
import org.reactorvfio.operations.MigrationGraph;
import org.reactorvfio.operations.MigrationState;
import org.reactorvfio.operations.MigrationSupport;
import org.reactorvfio.region.Region;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/**
 * Migration by the kernel's own code: its mtty sample, a PCI card with serial ports that nobody plugged in, saves and loads its
 * state as the drivers of real devices do.
 */
@Tag("lab")
@Timeout(170)
class MigrationLabTest {
  // The registers of a serial port: linux/serial_reg.h.
  private static final int DATA = 0;
  private static final int FIFO_CONTROL = 2;
  private static final int LINE_CONTROL = 3;
  private static final int MODEM_CONTROL = 4;
  private static final int LINE_STATUS = 5;
  private static final int SCRATCH = 7;
  private static final byte LOOPBACK = 0x10;
  private static final byte FIFO_ON = 1;
  private static final int DATA_READY = 1;

  /** The header, and what follows it for each port. */
  private static final int HEADER = 24;

  private static final int PORT = 36;
  private static final int WHOLE = HEADER + 2 * PORT;

  private final List<Mdev> made = new ArrayList<>();
  private final List<VfioDevice> opened = new ArrayList<>();

  static Stream<Backend> backends() {
    return LabDevice.backends();
  }

  private VfioDevice open(String type, Backend backend) {
    Mdev mdev = Mdev.create("mtty", type);
    made.add(mdev);
    VfioDevice device = mdev.open(backend);
    opened.add(device);
    return device;
  }

  @AfterEach
  void remove() {
    opened.forEach(device -> LabDevice.run(device.close()));
    made.forEach(Mdev::remove);
  }

  private static void use(VfioDevice device, int port, String text) {
    Region registers = device.bar(port);
    LabDevice.run(registers.write8(SCRATCH, (byte) (0x50 + port)));
    LabDevice.run(registers.write8(LINE_CONTROL, (byte) 3));
    LabDevice.run(registers.write8(FIFO_CONTROL, FIFO_ON));
    LabDevice.run(registers.write8(MODEM_CONTROL, LOOPBACK));
    for (byte character : text.getBytes(StandardCharsets.US_ASCII)) {
      LabDevice.run(registers.write8(DATA, character));
    }
  }

  private static void isInUse(VfioDevice device, int port, String text) {
    Region registers = device.bar(port);
    assertThat(LabDevice.get(registers.read8(SCRATCH))).isEqualTo((byte) (0x50 + port));
    assertThat(LabDevice.get(registers.read8(LINE_CONTROL))).isEqualTo((byte) 3);
    assertThat(LabDevice.get(registers.read8(MODEM_CONTROL))).isEqualTo(LOOPBACK);
    StringBuilder fifo = new StringBuilder();
    while ((LabDevice.get(registers.read8(LINE_STATUS)) & DATA_READY) != 0) {
      fifo.append((char) LabDevice.get(registers.read8(DATA)).byteValue());
    }
    assertThat(fifo).hasToString(text);
  }

  private static byte[] joined(Flux<ByteBuffer> data) {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    data.doOnNext(buffer -> {
          byte[] bytes = new byte[buffer.remaining()];
          buffer.get(bytes);
          all.writeBytes(bytes);
        })
        .blockLast(LabDevice.LONG);
    return all.toByteArray();
  }

  private static MigrationState state(VfioDevice device) {
    return LabDevice.get(device.migration().state());
  }

  @ParameterizedTest
  @MethodSource("backends")
  void savesAPortInUseAndResumesItElsewhere(Backend backend) {
    VfioDevice source = open("mtty-2", backend);
    use(source, 0, "in the FIFO");
    use(source, 1, "there, too");
    assertThat(LabDevice.get(source.migration().support()))
        .isEqualTo(new MigrationSupport(true, true));
    assertThat(LabDevice.get(source.migration().dataSize())).isEqualTo(WHOLE);

    byte[] saved = joined(source.migration().save(MigrationOptions.defaults().withChunkSize(7)));

    assertThat(saved).hasSize(WHOLE);
    assertThat(state(source)).isEqualTo(STOP);
    VfioDevice target = open("mtty-2", backend);
    LabDevice.run(target.migration().resume(Flux.just(ByteBuffer.wrap(saved))));
    assertThat(state(target)).isEqualTo(RUNNING);
    isInUse(target, 0, "in the FIFO");
    isInUse(target, 1, "there, too");
  }

  @ParameterizedTest
  @MethodSource("backends")
  void movesAPortInUse(Backend backend) {
    VfioDevice source = open("mtty-1", backend);
    VfioDevice target = open("mtty-1", backend);
    use(source, 0, "on the way");
    List<MigrationProgress> progress = LabDevice.get(source
        .migration()
        .migrateTo(target.migration(), MigrationOptions.defaults().withChunkSize(5))
        .collectList());

    isInUse(target, 0, "on the way");
    assertThat(state(source)).isEqualTo(STOP);
    assertThat(state(target)).isEqualTo(RUNNING);
    MigrationProgress last = progress.get(progress.size() - 1);
    assertThat(last.phase()).isEqualTo(MigrationProgress.Phase.DONE);
    assertThat(last.bytes()).isEqualTo(HEADER + PORT);
    assertThat(last.downtime()).isPositive().isLessThan(last.elapsed());
    // And back, with a key pressed meanwhile.
    use(target, 0, "and back");
    target.migration().migrateTo(source.migration()).blockLast(LabDevice.LONG);
    isInUse(source, 0, "and back");
    assertThat(state(target)).isEqualTo(STOP);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void goesEveryWayOfTheGraph(Backend backend) {
    VfioDevice device = open("mtty-2", backend);
    byte[] saved = joined(device.migration().save());
    LabDevice.run(device.migration().abort());
    MigrationGraph graph = new MigrationGraph("mtty", new MigrationSupport(true, true));
    for (MigrationState from : values()) {
      for (MigrationState to : values()) {
        if (from != ERROR) {
          goes(device, graph, saved, from, to);
        }
      }
    }
  }

  private static void goes(
      VfioDevice device,
      MigrationGraph graph,
      byte[] saved,
      MigrationState from,
      MigrationState to) {
    LabDevice.run(device.reset());
    Optional<MigrationData> data = LabDevice.get(device.operations().setMigrationState(from));
    if (from == RESUMING) {
      LabDevice.get(data.orElseThrow().write(ByteBuffer.wrap(saved)));
    }
    String what = from + " to " + to;
    List<MigrationState> path;
    try {
      path = graph.path(from, to);
    } catch (MigrationStateException e) {
      StepVerifier.create(device.operations().setMigrationState(to))
          .expectErrorSatisfies(refused -> assertThat(refused)
              .as(what)
              .isInstanceOfSatisfying(MigrationStateException.class, error -> {
                assertThat(error.errno()).isEqualTo(Errno.EINVAL);
                assertThat(error.state()).isEqualTo(from);
              }))
          .verify(LabDevice.LONG);
      assertThat(state(device)).as(what).isEqualTo(from);
      return;
    }
    Optional<MigrationData> opened = LabDevice.get(device.operations().setMigrationState(to));
    assertThat(state(device)).as(what).isEqualTo(to);
    boolean goesOn = saves(from) && path.stream().allMatch(MigrationLabTest::saves);
    assertThat(opened.isPresent())
        .as(what)
        .isEqualTo(!path.isEmpty() && (to == RESUMING || (saves(to) && !goesOn)));
    opened.ifPresent(stream -> LabDevice.run(stream.close()));
    data.ifPresent(stream -> LabDevice.run(stream.close()));
  }

  private static MigrationData at(VfioDevice device, MigrationState state) {
    return LabDevice.get(device.operations().setMigrationState(state)).orElseThrow();
  }

  private static boolean saves(MigrationState state) {
    return state == STOP_COPY || state == PRE_COPY || state == PRE_COPY_P2P;
  }

  @ParameterizedTest
  @MethodSource("backends")
  void keepsOneStreamFromPreCopyToStopCopy(Backend backend) {
    VfioDevice device = open("mtty-2", backend);
    MigrationData data = at(device, PRE_COPY);
    assertThat(LabDevice.get(data.precopyInfo()))
        .isEqualTo(new MigrationData.PrecopyInfo(HEADER, 0, false));
    ByteBuffer bytes = ByteBuffer.allocate(20);
    assertThat(LabDevice.get(data.read(bytes))).isEqualTo(20);
    assertThat(LabDevice.get(data.precopyInfo()).initialBytes()).isEqualTo(HEADER - 20);
    // mtty answers with 0 where others say ENOMSG; both end here for now.
    ByteBuffer direct = ByteBuffer.allocateDirect(200);
    assertThat(LabDevice.get(data.read(direct))).isEqualTo(HEADER - 20);
    assertThat(LabDevice.get(data.read(direct))).isZero();
    assertThat(LabDevice.get(device.operations().setMigrationState(PRE_COPY_P2P)))
        .isEmpty();
    assertThat(LabDevice.get(data.precopyInfo()).initialBytes()).isZero();
    assertThat(LabDevice.get(device.operations().setMigrationState(STOP_COPY))).isEmpty();
    assertThat(LabDevice.get(data.read(direct))).isEqualTo(2 * PORT);
    assertThat(LabDevice.get(data.read(direct))).isZero();
    StepVerifier.create(data.precopyInfo())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                NotSupportedException.class,
                refused -> assertThat(refused.errno()).isEqualTo(Errno.EINVAL)))
        .verify(LabDevice.LONG);
    StepVerifier.create(data.write(ByteBuffer.allocate(1)))
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
    LabDevice.get(device.operations().setMigrationState(RUNNING));
    StepVerifier.create(data.read(direct))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                MigrationEndedException.class,
                ended -> assertThat(ended.errno()).isEqualTo(Errno.ENODEV)))
        .verify(LabDevice.LONG);
    // The device is still there.
    assertThat(LabDevice.get(device.bar(0).read8(SCRATCH))).isZero();
  }

  @ParameterizedTest
  @MethodSource("backends")
  void refusesThePartOfAState(Backend backend) {
    VfioDevice device = open("mtty-2", backend);
    byte[] saved = joined(device.migration().save());
    LabDevice.run(device.migration().abort());
    for (int written = 0; written < saved.length; written += written == 0 ? HEADER - 1 : 9) {
      LabDevice.get(device.migration().to(RESUMING));
      LabDevice.run(
          device.migration().write(Flux.just(ByteBuffer.wrap(saved, 0, written).slice())));
      StepVerifier.create(device.migration().to(STOP))
          .expectErrorSatisfies(e -> assertThat(e)
              .isInstanceOfSatisfying(MigrationStateException.class, refused -> {
                assertThat(refused.errno()).isEqualTo(Errno.EINVAL);
                assertThat(refused.state()).isEqualTo(RESUMING);
              }))
          .verify(LabDevice.LONG);
      LabDevice.run(device.migration().abort());
      assertThat(state(device)).isEqualTo(RUNNING);
    }
    LabDevice.run(device.migration().resume(Flux.just(ByteBuffer.wrap(saved))));
  }

  @ParameterizedTest
  @MethodSource("backends")
  void refusesTheStateOfAnotherDeviceOrVersion(Backend backend) {
    VfioDevice one = open("mtty-1", backend);
    VfioDevice two = open("mtty-2", backend);
    use(two, 0, "kept");
    StepVerifier.create(two.migration().migrateTo(one.migration()).then())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(MigrationFailedException.class, failed -> {
              assertThat(failed.source()).isEqualTo(RUNNING);
              assertThat(failed.target()).isEqualTo(STOP);
              assertThat(failed.getCause()).isInstanceOf(MigrationDataException.class);
            }))
        .verify(LabDevice.LONG);
    byte[] saved = joined(two.migration().save());
    LabDevice.run(two.migration().abort());
    isInUse(two, 0, "kept");
    // Magic, versions, flags and number of ports.
    for (int at = 0; at < HEADER; at++) {
      byte[] altered = saved.clone();
      altered[at] ^= 0x20;
      StepVerifier.create(two.migration().load(Flux.just(ByteBuffer.wrap(altered))))
          .expectErrorSatisfies(e -> assertThat(e)
              .isInstanceOfSatisfying(
                  MigrationDataException.class,
                  refused -> assertThat(refused.errno()).isEqualTo(Errno.EFAULT)))
          .verify(LabDevice.LONG);
      assertThat(state(two)).isEqualTo(RUNNING);
    }
    // More than there is.
    StepVerifier.create(
            two.migration().load(Flux.just(ByteBuffer.wrap(saved), ByteBuffer.allocate(1))))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                MigrationDataException.class,
                refused -> assertThat(refused.errno()).isEqualTo(Errno.ENOMEM)))
        .verify(LabDevice.LONG);
    LabDevice.run(two.migration().load(Flux.just(ByteBuffer.wrap(saved))));
    assertThat(state(two)).isEqualTo(STOP);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void leavesNothingOpen(Backend backend) throws IOException {
    long before = LabDevice.descriptors();
    VfioDevice source = open("mtty-2", backend);
    VfioDevice target = open("mtty-2", backend);
    MigrationOptions bytes = MigrationOptions.defaults().withChunkSize(1);
    for (int taken : new int[] {1, HEADER - 1, HEADER, HEADER + 1, WHOLE - 1, WHOLE}) {
      StepVerifier.create(source.migration().save(bytes), taken)
          .expectNextCount(taken)
          .thenCancel()
          .verify(LabDevice.LONG);
      LabDevice.run(source.migration().settled());
      assertThat(state(source)).as("after %d bytes", taken).isEqualTo(RUNNING);
      StepVerifier.create(source
              .migration()
              .migrateTo(target.migration(), bytes)
              .takeUntil(progress -> progress.bytes() >= taken)
              .then())
          .expectComplete()
          .verify(LabDevice.LONG);
      LabDevice.run(source.migration().settled());
      LabDevice.run(target.migration().settled());
      assertThat(List.of(state(source), state(target)))
          .as("after %d bytes", taken)
          .isIn(List.of(RUNNING, STOP), List.of(STOP, RUNNING));
      LabDevice.run(source.migration().abort());
      LabDevice.run(target.reset());
    }
    // Nobody takes what these open.
    for (int i = 0; i < 30; i++) {
      source
          .operations()
          .setMigrationState(i % 2 == 0 ? STOP_COPY : RUNNING)
          .subscribe()
          .dispose();
    }
    LabDevice.run(source.migration().abort());
    LabDevice.get(source.migration().to(PRE_COPY));
    MigrationData raw = at(target, STOP_COPY);
    LabDevice.run(source.close());
    LabDevice.run(target.close());
    StepVerifier.create(raw.read(ByteBuffer.allocate(1)))
        .expectError(MigrationEndedException.class)
        .verify(LabDevice.LONG);
    assertThat(LabDevice.descriptors()).isEqualTo(before);
    // Whatever state it was closed in, it can be used again.
    VfioDevice again = made.get(1).open(backend);
    opened.add(again);
    LabDevice.run(again.reset());
    assertThat(state(again)).isEqualTo(RUNNING);
  }

  @ParameterizedTest
  @MethodSource("backends")
  void notesWhatTheDeviceWrites(Backend backend) {
    VfioDevice source = open("mtty-2", backend);
    VfioDevice target = open("mtty-2", backend);
    List<IovaRange> ranges = List.of(new IovaRange(0x100000, 0x1fffff));
    assertThat(LabDevice.get(source.operations().startDirtyTracking(ranges, 4096)))
        .isEqualTo(DirtyPages.Tracker.DEVICE);
    assertThat(LabDevice.get(source.operations().dirtyPages(0x100000, 0x100000)).count())
        .isZero();
    LabDevice.run(source.operations().stopDirtyTracking());
    List<String> copied = new ArrayList<>();
    MemoryCopier copier = new MemoryCopier() {
      @Override
      public Mono<Void> copyAll() {
        return Mono.fromRunnable(() -> copied.add("all"));
      }

      @Override
      public Mono<Void> copy(List<DirtyPages> dirty, boolean last) {
        return Mono.fromRunnable(() -> copied.add(dirty.get(0).count() + (last ? " last" : "")));
      }
    };
    source
        .migration()
        .migrateTo(target.migration(), MigrationOptions.defaults().withMemory(ranges, copier))
        .blockLast(LabDevice.LONG);
    assertThat(copied).containsExactly("all", "0", "0 last");
  }

  @ParameterizedTest
  @MethodSource("backends")
  void isNotOfferedByADeviceWithoutIt(Backend backend) {
    VfioDevice edu = LabDevice.open("VFIO_LAB_EDU", backend);
    opened.add(edu);
    Migration migration = edu.migration();
    StepVerifier.create(migration.support())
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
    StepVerifier.create(migration.save())
        .expectError(NotSupportedException.class)
        .verify(LabDevice.LONG);
  }
}
