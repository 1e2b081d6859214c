package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import org.reactorvfio.vendor.igd.Igd;
import org.reactorvfio.vendor.zdev.Zdev;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Operators that are found by the service loader, and which of them a device gets. */
class DiscoveredOperatorsTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final DeviceMatch ANY = DeviceMatch.any();

  /** An operator whose state is its own name. */
  abstract static class Named<S> implements VendorOperator<S> {
    private final Class<S> type;
    private final S state;
    private final List<DeviceMatch> matches;

    Named(Class<S> type, S state, DeviceMatch... matches) {
      this.type = type;
      this.state = state;
      this.matches = List.of(matches);
    }

    @Override
    public String name() {
      return getClass().getSimpleName();
    }

    @Override
    public Class<S> type() {
      return type;
    }

    @Override
    public List<DeviceMatch> matches() {
      return matches;
    }

    @Override
    public Mono<S> probe(VfioOperations core, DeviceIdentity identity) {
      return Mono.just(state);
    }

    @Override
    public VfioOperations compose(VfioOperations core, S state) {
      return core;
    }
  }

  /** For every network adapter of a vendor. */
  public static final class OfClass extends Named<StringBuilder> {
    public OfClass() {
      super(
          StringBuilder.class,
          new StringBuilder("class"),
          ANY.vendor(0x1234).classCode(0x020000, 0xff0000));
    }
  }

  /** For one board, and for another device. */
  public static final class OfBoard extends Named<String> {
    public OfBoard() {
      super(
          String.class,
          "board",
          ANY.vendor(0x4321),
          ANY.device(0x1234, 0x5678).subsystem(0xaaaa, 0xbbbb));
    }
  }

  /** For the same board. */
  public static final class OfBoardToo extends Named<Integer> {
    public OfBoardToo() {
      super(Integer.class, 2, ANY.subsystem(0xaaaa, 0xbbbb).device(0x1234, 0x5678));
    }
  }

  /** Cannot be made. */
  public static final class Broken extends Named<String> {
    public Broken() {
      super(String.class, "broken");
      throw new IllegalStateException("the test says so");
    }
  }

  private final EmulatedDevice board = EmulatedDevice.builder(0x1234, 0x5678)
      .subsystem(0xaaaa, 0xbbbb)
      .classCode(0x020000, 3)
      .build();
  private final EmulatedDevice adapter =
      EmulatedDevice.builder(0x1234, 0x9999).classCode(0x028000, 3).build();
  private final EmulatedDevice other = EmulatedDevice.builder(0x4444, 0x5678).build();

  @TempDir
  private Path folder;

  /** What a program has whose class path names these operators. */
  private VfioOptions discovering(VfioOptions options, Class<?>... operators) throws IOException {
    Path services = folder.resolve("META-INF/services");
    Files.createDirectories(services);
    Files.writeString(
        services.resolve(VendorOperator.class.getName()),
        Stream.of(operators).map(Class::getName).collect(Collectors.joining("\n")));
    Thread thread = Thread.currentThread();
    ClassLoader before = thread.getContextClassLoader();
    try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()}, before)) {
      thread.setContextClassLoader(loader);
      return options.withDiscoveredOperators();
    } finally {
      thread.setContextClassLoader(before);
    }
  }

  private VfioOptions discovering(Class<?>... operators) throws IOException {
    return discovering(VfioOptions.defaults(), operators);
  }

  private static void close(VfioDevice device) {
    StepVerifier.create(device.close()).expectComplete().verify(LIMIT);
  }

  @Test
  void theMostSpecificMatchWins() throws IOException {
    for (VfioOptions options : new VfioOptions[] {
      discovering(OfClass.class, OfBoard.class), discovering(OfBoard.class, OfClass.class)
    }) {
      VfioDevice device = Vfio.open(board, options).block(LIMIT);
      assertThat(device.as(String.class)).isEqualTo("board");
      assertThat(device.has(StringBuilder.class)).isFalse();
      assertThatThrownBy(() -> device.as(StringBuilder.class))
          .isInstanceOf(OperatorAbsentException.class)
          .hasMessageContaining("OfClass: OfBoard matches more specifically");
      close(device);
    }
  }

  @Test
  void theGenericOneServesTheRest() throws IOException {
    VfioOptions options = discovering(OfClass.class, OfBoard.class);
    VfioDevice device = Vfio.open(adapter, options).block(LIMIT);
    assertThat(device.as(StringBuilder.class)).hasToString("class");
    close(device);
    VfioDevice without = Vfio.open(other, options).block(LIMIT);
    assertThatThrownBy(() -> without.as(String.class))
        .isInstanceOf(OperatorAbsentException.class)
        .hasMessageContaining("OfBoard: it is not for 4444:5678");
    close(without);
  }

  @Test
  void twoThatMatchEquallyWellAreAnError() throws IOException {
    VfioOptions options = discovering(OfBoard.class, OfClass.class, OfBoardToo.class);
    StepVerifier.create(Vfio.open(board, options))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(OperatorConflictException.class)
            .hasMessageContainingAll("OfBoard, OfBoardToo", "1234:5678", "withOperators"))
        .verify(LIMIT);
    assertThat(board.isOpen()).isFalse();
    close(Vfio.open(adapter, options).block(LIMIT));
  }

  @Test
  void oneThatIsNamedTakesThePlaceOfThoseWithTheSameState() throws IOException {
    List<String> diary = FakeOperator.diary();
    VfioOptions options = discovering(
        VfioOptions.defaults()
            .withOperators(FakeOperator.of("named", String.class, diary, "named")),
        OfBoard.class,
        OfClass.class);
    VfioDevice device = Vfio.open(board, options).block(LIMIT);
    assertThat(device.as(String.class)).isEqualTo("named");
    assertThat(device.as(StringBuilder.class)).hasToString("class");
    close(device);
  }

  @Test
  void theOneThatIsDiscoveredIsNearestTheCore() throws IOException {
    List<String> diary = FakeOperator.diary();
    VfioOptions options = discovering(OfBoard.class)
        .withOperators(FakeOperator.of("named", Integer.class, diary, 1))
        .withReleaseOnRequest(true);
    assertThat(options
            .operators()
            .of("it", new DeviceIdentity(0x1234, 0x5678, 0xaaaa, 0xbbbb, 0), new ArrayList<>())
            .stream()
            .map(VendorOperator::name))
        .containsExactly("OfBoard", "named");
  }

  @Test
  void oneThatCannotBeLoadedIsNamed() {
    assertThatThrownBy(() -> discovering(OfBoard.class, Broken.class))
        .isInstanceOf(VfioException.class)
        .hasMessageContainingAll("discovery of operators", Broken.class.getName(), "withOperators");
  }

  @Test
  void thoseOfTheLibraryAreAmongThem() {
    EmulatedDevice graphics =
        EmulatedDevice.builder(0x8086, 0x3e92).classCode(0x030000, 2).build();
    VfioDevice device =
        Vfio.open(graphics, VfioOptions.defaults().withDiscoveredOperators()).block(LIMIT);
    assertThatThrownBy(() -> device.as(Igd.class))
        .isInstanceOf(OperatorAbsentException.class)
        .hasMessageContaining("opened without igd");
    assertThatThrownBy(() -> device.as(Zdev.class))
        .hasMessageContaining("igd matches more specifically");
    close(device);
  }

  @Test
  void withoutAskingForThemNoneIsThere() {
    assertThat(VfioOptions.defaults().operators().isEmpty()).isTrue();
  }
}
